"""ExampleValidator that stops the run: TFX's own only writes anomalies down."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

_ANOMALIES_FILE = "SchemaDiff.pb"


class AnomalyError(ValueError):
    """The examples do not fit the curated schema."""


class _StoppingExecutor(executor.Executor):
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput:
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        found = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = io_utils.get_only_uri_in_dir(artifact_utils.get_split_uri([artifact], split))
            anomalies = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(path))
            found.extend(f"split {split}: {line}" for line in describe_anomalies(anomalies))
        if found:
            raise AnomalyError(
                f"the examples have {len(found)} anomalies against the curated schema: "
                + "; ".join(found)
                + ". Mend the log, or the dataset config if the log is right."
            )
        return output


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One line an anomaly: the feature and what TFDV says of it."""
    lines = [
        f"feature '{name}': {info.description}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"dataset: {anomalies.dataset_anomaly_info.description}")
    return lines


class StoppingExampleValidator(component.ExampleValidator):
    """Like `ExampleValidator`, but fails on the first split with anomalies and names them all."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_StoppingExecutor)
