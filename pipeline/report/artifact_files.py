"""Reads single files of artifacts, which may lie in a bucket."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2


def read_json(folder: str, name: str) -> Any:
    """A JSON file of an artifact.

    Raises:
        FileNotFoundError: It is not there.
    """
    path = os.path.join(folder, name)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{path} is not there; if the step was taken from a run of an earlier version, run it "
            "again with --no-cache"
        )
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def numeric_statistics(statistics: str, split: str) -> dict[str, statistics_pb2.NumericStatistics]:
    """By feature, what StatisticsGen found in a split."""
    return {name: found.num_stats for name, found in _statistics(statistics, split).items()}


def text_statistics(statistics: str, split: str) -> dict[str, statistics_pb2.StringStatistics]:
    """By feature that holds texts, what StatisticsGen found in a split."""
    return {
        name: found.string_stats
        for name, found in _statistics(statistics, split).items()
        if found.HasField("string_stats")
    }


def _statistics(statistics: str, split: str) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    content = _read_bytes(os.path.join(statistics, f"Split-{split}", "FeatureStats.pb"))
    proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(content)
    return {
        ".".join(feature.path.step) or feature.name: feature
        for feature in proto.datasets[0].features
    }


def count_anomalies(anomalies: str, split: str) -> int:
    """How many anomalies ExampleValidator wrote down for a split."""
    content = _read_bytes(os.path.join(anomalies, f"Split-{split}", "SchemaDiff.pb"))
    found = anomalies_pb2.Anomalies.FromString(content)
    return len(found.anomaly_info) + found.HasField("dataset_anomaly_info")


def _read_bytes(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()
