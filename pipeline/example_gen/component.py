"""The TFX component that makes examples from logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2
from tfx.types.channel import OutputChannel
from tfx.types.component_spec import ExecutionParameter
from tfx.types.standard_artifacts import Examples
from tfx.types.standard_component_specs import FileBasedExampleGenSpec

from pipeline.example_gen.executor import SPAN_KEY, WINDOW_SPANS_KEY, Executor, packed_dataset
from pipeline.logs.dataset_config import DatasetConfig


@dataclass(frozen=True)
class Spans:
    """The logs are a folder of spans, of which a window is read.

    Attributes:
        last: the name of the last span of the window, or `newest`; may be given when the pipeline
            is started.
        window: how many spans, the last one included.
    """

    last: str | RuntimeParameter
    window: int


class _LogExampleGenSpec(FileBasedExampleGenSpec):
    PARAMETERS: ClassVar = {
        **FileBasedExampleGenSpec.PARAMETERS,
        SPAN_KEY: ExecutionParameter(type=str, optional=True),
        WINDOW_SPANS_KEY: ExecutionParameter(type=int, optional=True),
    }


class LogExampleGen(FileBasedExampleGen):
    """ExampleGen of the log contract: joins, slates and pair groups, one `tf.Example` a slate.

    Being a `FileBasedExampleGen`, it brings that component's driver to the runners that have
    drivers: there the names, sizes and times of all log files are part of the cache key, so that a
    changed log is read again and an unchanged one is not.

    Component `outputs` contains:
     - `examples`: Channel of type `standard_artifacts.Examples` with the splits `train`, `eval`
       and `answered` (plain TFRecord files); `counts.json` and `dead_letters/` lie beside them.

    Args:
        data_dir: folder of the logs; the paths in the dataset config are relative to it, or to each
            span in it.
        dataset: what the tables mean.
        spans: which spans to read; None: the folder is one log.
    """

    SPEC_CLASS = _LogExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self, data_dir: str | RuntimeParameter, dataset: DatasetConfig, spans: Spans | None = None
    ) -> None:
        # Users and items may lie beside the spans or within.
        tables = ("impressions", "questionnaires", *(("users", "items") if spans is None else ()))
        patterns = [
            example_gen_pb2.Input.Split(
                name=f"{name}_{number}", pattern=pattern if spans is None else f"*/{pattern}"
            )
            for name in tables
            if (table := getattr(dataset.tables, name)) is not None
            for number, pattern in enumerate(table.path)
        ]
        window = {} if spans is None else {SPAN_KEY: spans.last, WINDOW_SPANS_KEY: spans.window}
        spec = _LogExampleGenSpec(
            input_base=data_dir,
            input_config=example_gen_pb2.Input(splits=patterns),
            # The splits are a matter of time, not of hash buckets.
            output_config=example_gen_pb2.Output(),
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
            custom_config=packed_dataset(dataset),
            examples=OutputChannel(Examples, self, "examples"),
            **window,
        )
        # Not FileBasedExampleGen's own: it knows its own parameters only.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)
