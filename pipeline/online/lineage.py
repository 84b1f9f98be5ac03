"""From a pushed version back to every span it has learnt, by ML Metadata."""

from __future__ import annotations

from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)


def learnt_spans(metadata_file: Path, model: str) -> list[str]:
    """The span folders that a model was trained on since the full fit, oldest first.

    Args:
        metadata_file: The SQLite database of the metadata store.
        model: URI of its Model artifact.

    Raises:
        ValueError: The metadata does not know the model.
    """
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_file)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(config)
    spans: list[str] = []
    uri: str | None = model
    while uri is not None:
        known = store.get_artifacts_by_uri(uri)
        if not known:
            raise ValueError(f"{metadata_file} does not know the model {uri}")
        inputs = inputs_of(store, known[0])
        if "base_model" not in inputs:  # the full fit
            break
        maker = made_by(store, inputs["examples"])
        spans.append(maker.custom_properties["span"].string_value)
        uri = inputs["base_model"].uri
    return spans[::-1]


def made_by(
    store: mlmd.MetadataStore, artifact: metadata_store_pb2.Artifact
) -> metadata_store_pb2.Execution:
    """The execution that made an artifact; importing it later does not count."""
    events = store.get_events_by_artifact_ids([artifact.id])
    first = min(event.execution_id for event in events if event.type in _OUTPUTS)
    (execution,) = store.get_executions_by_id([first])
    return execution


def inputs_of(
    store: mlmd.MetadataStore, artifact: metadata_store_pb2.Artifact
) -> dict[str, metadata_store_pb2.Artifact]:
    """By key, what the execution was given that made an artifact."""
    execution = made_by(store, artifact)
    events = [
        event
        for event in store.get_events_by_execution_ids([execution.id])
        if event.type in _INPUTS
    ]
    given = {
        one.id: one for one in store.get_artifacts_by_id([event.artifact_id for event in events])
    }
    return {
        next(step.key for step in event.path.steps if step.HasField("key")): given[
            event.artifact_id
        ]
        for event in events
    }
