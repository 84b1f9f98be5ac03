"""The TFX component: what it hands to its executor, and what the executor leaves behind."""

import json

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import proto_utils

from pipeline.example_gen.component import LogExampleGen
from pipeline.example_gen.executor import Executor
from tests.pipeline.example_gen.small_logs import config, impression, write_parquet


def test_every_pattern_of_every_table_is_part_of_the_fingerprint():
    dataset = config()
    values = dataset.to_dict()
    values["tables"]["impressions"]["path"] = ["one*.parquet", "two*.csv"]
    component = LogExampleGen("logs", type(dataset).from_dict(values))
    splits = example_gen_pb2.Input()
    proto_utils.json_to_proto(component.exec_properties["input_config"], splits)
    assert {split.name: split.pattern for split in splits.splits} == {
        "impressions_0": "one*.parquet",
        "impressions_1": "two*.csv",
        "questionnaires_0": "questionnaires*.parquet",
        "users_0": "users*.parquet",
        "items_0": "items*.parquet",
    }
    assert component.exec_properties["input_base"] == "logs"


def test_the_executor_fills_the_examples_artifact(tmp_path):
    hours = (0, 1, 2, 3)
    rows = [impression(f"r{hour}", "u", item, hour) for hour in hours for item in "ab"]
    write_parquet(tmp_path / "logs", rows, [])
    component = LogExampleGen(str(tmp_path / "logs"), config())
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    context = BaseBeamExecutor.Context(["--runner=FnApiRunner"], str(tmp_path / "tmp"), "1")

    Executor(context).Do({}, {"examples": [examples]}, component.exec_properties)

    assert artifact_utils.decode_split_names(examples.split_names) == ["train", "eval", "answered"]
    assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    for split in ("train", "eval", "answered"):
        (file,) = (tmp_path / "examples" / f"Split-{split}").iterdir()
        assert file.name == "slates-00000.tfrecord"
    counts = json.loads((tmp_path / "examples" / "counts.json").read_text())
    assert counts["slates"]["train"] == 3
    assert counts["slates"]["eval"] == 1
