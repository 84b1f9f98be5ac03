"""The TFX executor of `LogExampleGen`."""

from __future__ import annotations

from typing import Any

from google.protobuf import wrappers_pb2
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from pipeline.example_gen.generate import SPLITS, generate_examples
from pipeline.example_gen.span_window import find_window
from pipeline.logs.dataset_config import DatasetConfig

SPAN_KEY = "span"
WINDOW_SPANS_KEY = "window_spans"
# Custom property of the examples: the folder that the log was read from.
LOGS = "logs"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Makes the examples of one folder of logs on the Beam runner of the pipeline."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits, `counts.json` and `dead_letters/` into the Examples artifact.

        Raises:
            LogError: the log cannot be read, or nothing of it is left.
            SpanError: the spans that are asked for are not there.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        dataset = _dataset(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        logs = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        spans = exec_properties.get(WINDOW_SPANS_KEY)
        if spans is not None:
            window = find_window(dataset, logs, span=exec_properties[SPAN_KEY], spans=spans)
            dataset = window.dataset
            examples.span = window.spans[-1].number
            names = ",".join(span.name for span in window.spans)
            examples.set_string_custom_property("spans", names)
        examples.set_string_custom_property(LOGS, logs)
        generate_examples(
            dataset,
            logs,
            examples.uri,
            self._make_beam_pipeline,
        )
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)


def packed_dataset(dataset: DatasetConfig) -> example_gen_pb2.CustomConfig:
    """The dataset config as the component carries it to the executor."""
    custom = example_gen_pb2.CustomConfig()
    custom.custom_config.Pack(wrappers_pb2.StringValue(value=dataset.to_json()))
    return custom


def _dataset(custom_config: str) -> DatasetConfig:
    custom = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, custom)
    text = wrappers_pb2.StringValue()
    custom.custom_config.Unpack(text)
    return DatasetConfig.from_json(text.value)
