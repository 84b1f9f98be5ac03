"""The transform graph is the same to the last bit, on a slow machine and on a fast one."""

import json
import random

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from apache_beam.transforms import util
from tfx.components.transform import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from pipeline.configs import IN_PROCESS_BEAM
from pipeline.example_gen.generate import generate_examples
from pipeline.exporting import raw_feature_spec
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.repeatable_transform import RepeatableTransform
from pipeline.slate_schema import slate_schema
from simulator import SimulatorConfig, write_logs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Examples of 400 requests, and their dataset."""
    folder, dataset = tmp_path_factory.mktemp("made"), load_dataset_config("simulated")
    write_logs(SimulatorConfig(requests=400), folder / "logs")
    generate_examples(dataset, str(folder / "logs"), str(folder / "examples"), beam.Pipeline)
    return folder, dataset


def transformed(transform, made, out):
    """The train split through the graph that the component's executor fits."""
    folder, dataset = made
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, examples.split_names = str(folder / "examples"), json.dumps(["train"])
    schema.uri = str(out / "schema")
    io_utils.write_pbtxt_file(f"{schema.uri}/schema.pbtxt", slate_schema(dataset))
    graph, cache = standard_artifacts.TransformGraph(), standard_artifacts.TransformCache()
    graph.uri, cache.uri = str(out / "graph"), str(out / "cache")
    kind = transform.EXECUTOR_SPEC.executor_class
    executor = kind(kind.Context(list(IN_PROCESS_BEAM), str(out / "tmp"), "1"))
    executor.Do(
        {"examples": [examples], "schema": [schema]},
        {"transform_graph": [graph], "updated_analyzer_cache": [cache]},
        {
            "preprocessing_fn": "pipeline.transform.preprocessing_fn",
            "custom_config": json.dumps({"dataset_config": dataset.to_json()}),
            "disable_statistics": 1,
        },
    )
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(str(folder / "examples/Split-train/*")))
    raw = tf.io.parse_example(list(records), raw_feature_spec(dataset, labels=True))
    layer = tft.TFTransformOutput(graph.uri).transform_features_layer()
    return {name: value.numpy() for name, value in layer(raw).items()}


@pytest.mark.parametrize(
    ("transform", "same"), [(RepeatableTransform, True), (component.Transform, False)]
)
def test_means_depend_neither_on_how_long_a_batch_takes_nor_on_chance(
    transform, same, made, tmp_path, monkeypatch
):
    found = []
    for size in (3, 50):

        def next_size(estimator, size=size):
            """What Beam comes to where it is free to choose, on a slow machine or a fast one."""
            limits = estimator._min_batch_size, estimator._max_batch_size
            return size if limits[0] < limits[1] else limits[0]

        monkeypatch.setattr(util._BatchSizeEstimator, "_calculate_next_batch_size", next_size)
        random.seed(size)
        found.append(transformed(transform, made, tmp_path / str(size)))
    one, other = found
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one) == same
