"""The TFX component that makes examples from logs."""

from __future__ import annotations

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from pipeline.example_gen.executor import Executor, packed_dataset
from pipeline.logs.dataset_config import DatasetConfig


class LogExampleGen(FileBasedExampleGen):
    """ExampleGen of the log contract: joins, slates and pair groups, one `tf.Example` a slate.

    Being a `FileBasedExampleGen`, it brings that component's driver on every orchestrator: the
    names, sizes and times of all log files are part of the cache key, so that a changed log is
    read again and an unchanged one is not.

    Component `outputs` contains:
     - `examples`: Channel of type `standard_artifacts.Examples` with the splits `train`, `eval`
       and `answered` (plain TFRecord files); `counts.json` and `dead_letters/` lie beside them.

    Args:
        data_dir: folder of the logs; the paths in the dataset config are relative to it.
        dataset: what the tables mean.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, data_dir: str, dataset: DatasetConfig) -> None:
        patterns = [
            example_gen_pb2.Input.Split(name=f"{name}_{number}", pattern=pattern)
            for name in ("impressions", "questionnaires", "users", "items")
            if (table := getattr(dataset.tables, name)) is not None
            for number, pattern in enumerate(table.path)
        ]
        super().__init__(
            input_base=data_dir,
            input_config=example_gen_pb2.Input(splits=patterns),
            # The splits are a matter of time, not of hash buckets.
            output_config=example_gen_pb2.Output(),
            custom_config=packed_dataset(dataset),
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
        )
