"""The Transform graph, fitted once for a dataset and applied to every cell of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from pipeline.example_gen.example_encoding import encode_examples
from pipeline.exporting import raw_feature_spec
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.slate_schema import slate_schema
from pipeline.transform import preprocessing_fn


class FittedTransform:
    """Serialized slate examples to the model's features and labels."""

    def __init__(self, folder: Path, config: DatasetConfig) -> None:
        import tensorflow_transform as tft

        self._layer = tft.TFTransformOutput(str(folder)).transform_features_layer()
        spec = raw_feature_spec(config, labels=True)
        self._apply = tf.function(
            lambda examples: self._layer(tf.io.parse_example(examples, spec)),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )

    def __call__(self, serialized: np.ndarray) -> dict[str, np.ndarray]:
        """Transforms serialized examples `[n]`."""
        return {name: value.numpy() for name, value in self._apply(serialized).items()}


def fit_transform(examples: pa.RecordBatch, config: DatasetConfig, folder: Path) -> None:
    """Fits the graph on slates with TFT and writes it to `folder`, in one step."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    os.replace(fit_graph(encode_examples(examples).to_pylist(), config, partial), folder)
    shutil.rmtree(partial)


def fit_graph(examples: Iterable[bytes], config: DatasetConfig, scratch: Path) -> Path:
    """Fits the graph on serialized slates with TFT.

    Args:
        examples: what to fit it on.
        config: the dataset.
        scratch: a folder to work in.

    Returns:
        The graph's folder in `scratch`.
    """
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tfx_bsl.public import tfxio

    records = str(scratch / "slates.tfrecord")
    with tf.io.TFRecordWriter(records) as writer:
        for example in examples:
            writer.write(example)
    source = tfxio.TFExampleRecord(records, schema=slate_schema(config))
    custom: dict[str, Any] = {"dataset_config": config.to_json()}
    options = PipelineOptions(["--runner=FnApiRunner"])
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(str(scratch / "tmp")):
        data = pipeline | source.BeamSource()
        graph = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, custom)
        )
        _ = graph | tft_beam.WriteTransformFn(str(scratch / "graph"))
    return scratch / "graph"
