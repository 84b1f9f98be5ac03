"""Where the artifacts of the last pipeline run are, from ML Metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2


@dataclass(frozen=True)
class RunArtifact:
    """One output of a component.

    Attributes:
        uri: Its folder.
        properties: Its custom properties, e.g. `blessed`.
        cached: Whether it was taken from an earlier run.
    """

    uri: str
    properties: dict[str, str | int | float]
    cached: bool


def last_run_artifacts(
    metadata_file: Path, pipeline_name: str
) -> dict[str, dict[str, RunArtifact]]:
    """The outputs of the newest run of the pipeline.

    Args:
        metadata_file: The SQLite database of the metadata store.
        pipeline_name: As given to `create_pipeline`.

    Returns:
        Component id → output key → artifact. Components that did not get to run are missing.
    """
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_file)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(config)
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return {}
    runs = store.get_children_contexts_by_context(pipeline.id)
    run = max(
        (context for context in runs if context.type == "pipeline_run"),
        key=lambda context: context.id,  # a clock may be put back
    )
    executions = {execution.id: execution for execution in store.get_executions_by_context(run.id)}
    nodes = {
        execution_id: context.name.removeprefix(f"{pipeline_name}.")
        for execution_id in executions
        for context in store.get_contexts_by_execution(execution_id)
        if context.type == "node"
    }
    found: dict[str, dict[str, RunArtifact]] = {}
    events = store.get_events_by_execution_ids(list(executions))
    artifacts = {
        artifact.id: artifact
        for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])
    }
    for event in events:
        if event.type not in (
            metadata_store_pb2.Event.OUTPUT,
            metadata_store_pb2.Event.DECLARED_OUTPUT,
        ):
            continue
        key = next(step.key for step in event.path.steps if step.HasField("key"))
        artifact = artifacts[event.artifact_id]
        execution = executions[event.execution_id]
        found.setdefault(nodes[event.execution_id], {})[key] = RunArtifact(
            uri=artifact.uri,
            properties={
                name: getattr(value, value.WhichOneof("value"))
                for name, value in artifact.custom_properties.items()
                if value.WhichOneof("value") in ("string_value", "int_value", "double_value")
            },
            cached=execution.last_known_state == metadata_store_pb2.Execution.CACHED,
        )
    return found
