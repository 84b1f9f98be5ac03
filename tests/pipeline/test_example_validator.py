"""The validator stops the run on examples that do not fit the schema, and names all anomalies."""

import pytest
import tensorflow_data_validation as tfdv
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils, json_utils

from pipeline.example_validator import AnomalyError, StoppingExampleValidator
from pipeline.slate_schema import slate_schema
from tests.pipeline.conftest import TINY_SLATES, slate_example


def statistics_of(examples, folder):
    """The statistics artifact that StatisticsGen would write for a train split."""
    import tensorflow as tf

    folder.mkdir()
    records = str(folder / "slates.tfrecord")
    with tf.io.TFRecordWriter(records) as writer:
        for example in examples:
            writer.write(example)
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri = str(folder / "statistics")
    artifact.split_names = artifact_utils.encode_split_names(["train"])
    statistics = tfdv.generate_statistics_from_tfrecord(records)
    split = folder / "statistics" / "Split-train"
    split.mkdir(parents=True)
    (split / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    return artifact


def validate(examples, dataset, folder):
    schema = standard_artifacts.Schema()
    schema.uri = str(folder / "schema")
    io_utils.write_pbtxt_file(str(folder / "schema" / "schema.pbtxt"), slate_schema(dataset))
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(folder / "anomalies")
    executor = StoppingExampleValidator.EXECUTOR_SPEC.executor_class()
    executor.Do(
        {"statistics": [statistics_of(examples, folder / "data")], "schema": [schema]},
        {"anomalies": [anomalies]},
        {"exclude_splits": json_utils.dumps([])},
    )


def test_slates_as_example_gen_writes_them_pass(tiny_dataset, tiny_examples, tmp_path):
    validate(tiny_examples, tiny_dataset, tmp_path)
    assert (tmp_path / "anomalies" / "Split-train" / "SchemaDiff.pb").exists()


def test_every_anomaly_is_named_with_its_feature(tiny_dataset, tmp_path):
    import tensorflow as tf

    example = tf.train.Example.FromString(slate_example(0, *TINY_SLATES[0]))
    example.features.feature["answer"].int64_list.value[0] = 7
    example.features.feature["length"].float_list.value[0] = float("inf")
    example.features.feature["surprise"].int64_list.value[:] = [1]
    with pytest.raises(AnomalyError) as stopped:
        validate([example.SerializeToString()], tiny_dataset, tmp_path)
    for feature in ("answer", "length", "surprise"):
        assert f"split train: feature '{feature}'" in str(stopped.value)
    assert "3 anomalies" in str(stopped.value)
