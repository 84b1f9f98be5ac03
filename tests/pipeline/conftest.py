"""A tiny dataset, three hand-written slates of it, and the transform graph fitted on them."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.logs.dataset_config import DatasetConfig

TINY_DATASET = {
    "name": "tiny",
    "tables": {
        "impressions": {"path": "impressions.csv"},
        "questionnaires": {"path": "questionnaires.csv"},
        "users": {"path": "users.csv"},
        "items": {"path": "items.csv"},
    },
    "columns": {
        "request_id": "request",
        "user_id": "user",
        "item_id": "item",
        "time": {"column": "time_ms", "unit": "ms"},
        "played": {"column": "played_ms", "unit": "ms"},
        "duration": {"column": "duration_ms", "unit": "ms"},
    },
    "questionnaire": {
        "columns": {
            "request_id": "request",
            "user_id": "user",
            "item_id": "item",
            "issued": {"column": "issued_ms"},
            "answered": {"column": "answered_ms"},
            "answer": "answer",
        },
        "answers": {"satisfied": "yes", "dissatisfied": "no", "uncertain": "unsure"},
    },
    "behaviours": {"columns": ["click", "like"], "positive": ["click", "like"], "max_level": 2},
    "slate": {"max_candidates": 4},
    "features": [
        {"name": "user_id", "table": "users", "column": "user", "level": "user", "kind": "id"},
        {"name": "item_id", "table": "items", "column": "item", "level": "candidate", "kind": "id"},
        {"name": "hour", "table": "impressions", "level": "context", "kind": "categorical"},
        {
            "name": "length",
            "table": "items",
            "level": "candidate",
            "kind": "numeric",
            "rank": True,
        },
    ],
}

# Each slate: user, hour, then a row (item, length, level, answer) a candidate.
TINY_SLATES = [
    ("ann", "8", [("a", 10.0, 2, 2), ("b", 30.0, 0, -1), ("c", 20.0, -1, -1)]),
    ("bob", "9", [("b", 30.0, 1, 0), ("d", 40.0, 0, 1)]),
    ("ann", "8", [("d", 40.0, 0, -1), ("a", 10.0, 1, -1), ("c", 20.0, 0, -1), ("b", 30.0, -1, -1)]),
]


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _texts(values):
    texts = [value.encode() for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))


def slate_example(index, user, hour, candidates):
    """A raw slate example as ExampleGen writes it."""
    items, lengths, levels, answers = zip(*candidates, strict=True)
    count = len(candidates)
    features = {
        "request_id": _texts([f"r{index}"]),
        "user_id": _texts([user]),
        "hour": _texts([hour]),
        "time": _ints([1000 * index]),
        "group_time": _ints([1000 * index]),
        "pair_group": _ints([-1]),
        "user_train_slates": _ints([1]),
        "item_id": _texts(items),
        "length": _floats(lengths),
        "exposed": _ints([int(level >= 0) for level in levels]),
        "behaviour_level": _ints(levels),
        "answer": _ints(answers),
        "behaviour_click": _ints([int(level >= 1) for level in levels]),
        "behaviour_like": _ints([int(level >= 2) for level in levels]),
        "played_seconds": _floats([5.0] * count),
        "popularity": _floats([0.0] * count),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="session")
def tiny_dataset() -> DatasetConfig:
    return DatasetConfig.from_dict(TINY_DATASET)


@pytest.fixture(scope="session")
def tiny_examples() -> list[bytes]:
    return [slate_example(index, *slate) for index, slate in enumerate(TINY_SLATES)]


@pytest.fixture(scope="session")
def tiny_transform_dir(tiny_dataset, tiny_examples, tmp_path_factory) -> str:
    """The transform graph, fitted by TFT on the three slates."""
    from experiments.fitted_transform import fit_graph

    return str(fit_graph(tiny_examples, tiny_dataset, tmp_path_factory.mktemp("tiny_transform")))


@pytest.fixture(scope="session")
def tiny_transform_output(tiny_transform_dir):
    import tensorflow_transform as tft

    return tft.TFTransformOutput(tiny_transform_dir)


@pytest.fixture(scope="session")
def tiny_transformed(tiny_dataset, tiny_examples, tiny_transform_output) -> dict[str, np.ndarray]:
    """The three slates, transformed."""
    from pipeline.exporting import raw_feature_spec

    spec = raw_feature_spec(tiny_dataset, labels=True)
    layer = tiny_transform_output.transform_features_layer()
    tensors = layer(tf.io.parse_example(tf.constant(tiny_examples), spec))
    return {name: value.numpy() for name, value in tensors.items()}
