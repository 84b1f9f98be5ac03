"""Raw slate examples and a SavedModel that ranks them, small enough to work out by hand.

The model has the signatures of a pushed ranker. Its score of a candidate is the feature `quality`
(times a sign), less its place in the slate (times `order`), padded to a width of `WIDTH`.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

WIDTH = 6
DATASET = {
    "name": "stub",
    "tables": {
        "impressions": {"path": "impressions.parquet"},
        "questionnaires": {"path": "questionnaires.parquet"},
    },
    "columns": {
        "request_id": "request_id",
        "user_id": "user_id",
        "item_id": "item_id",
        "time": {"column": "time_ms", "unit": "ms"},
        "exposed": "exposed",
        "played": {"column": "played_ms", "unit": "ms"},
        "duration": {"column": "duration_ms", "unit": "ms"},
        "true_satisfaction": "truth",
    },
    "questionnaire": {
        "columns": {
            "request_id": "request_id",
            "user_id": "user_id",
            "item_id": "item_id",
            "issued": {"column": "issued_ms", "unit": "ms"},
            "answered": {"column": "answered_ms", "unit": "ms"},
            "answer": "answer",
        },
        "answers": {"satisfied": ["s"], "dissatisfied": ["d"], "uncertain": ["u"]},
    },
    "behaviours": {"columns": ["like"], "positive": ["like"], "max_level": 1},
    "slate": {"max_candidates": WIDTH},
    "slice_by": ["device", "quality"],
    "features": [
        {"name": "user_id", "table": "impressions", "level": "user", "kind": "id"},
        {"name": "item_id", "table": "impressions", "level": "candidate", "kind": "id"},
        {"name": "device", "table": "impressions", "level": "context", "kind": "categorical"},
        {"name": "quality", "table": "impressions", "level": "candidate", "kind": "numeric"},
    ],
}


def slate_example(request_id: str, user_id: str, quality: list[float], **lists: list) -> bytes:
    """A serialized slate; lists not given are constant. `device` and `user_train_slates` scalar."""
    n = len(quality)
    ints = {
        "exposed": [1] * n,
        "behaviour_level": [0] * n,
        "behaviour_like": [0] * n,
        "answer": [-1] * n,
        "time": [1],
        "pair_group": [-1],
        "group_time": [1],
        "user_train_slates": [0],
    }
    floats = {
        "quality": quality,
        "popularity": [0.0] * n,
        "true_satisfaction": [0.0] * n,
        "played_seconds": [0.0] * n,
    }
    texts = {
        "request_id": [request_id],
        "user_id": [user_id],
        "device": ["phone"],
        "item_id": [f"{request_id}-item{index}" for index in range(n)],
    }
    for name, values in lists.items():
        next(kind for kind in (ints, floats, texts) if name in kind)[name] = values
    feature = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        for name, values in ints.items()
    }
    feature |= {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=values))
        for name, values in floats.items()
    }
    feature |= {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
        for name, values in texts.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


class _Ranker(tf.Module):
    def __init__(self, sign: float, skew: float, order: float) -> None:
        super().__init__()
        self._sign, self._order = tf.Variable(sign), tf.Variable(order)
        self._skew = skew

    def _score(self, quality: tf.Tensor, real: tf.Tensor) -> dict[str, tf.Tensor]:
        place = tf.cast(tf.range(tf.shape(quality)[1]), tf.float32)
        score = self._sign * quality - self._order * place
        return {"score": tf.where(real, score, tf.float32.min)}

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user_id"),
            tf.TensorSpec([None], tf.string, name="device"),
            tf.TensorSpec([None, None], tf.string, name="item_id"),
            tf.TensorSpec([None, None], tf.float32, name="quality"),
        ],
    )
    def rank_raw(self, user_id, device, item_id, quality):
        return self._score(quality + self._skew, item_id != "")

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="examples")]
    )
    def rank_examples(self, examples):
        spec = {
            "item_id": tf.io.RaggedFeature(tf.string),
            "quality": tf.io.RaggedFeature(tf.float32),
        }
        parsed = tf.io.parse_example(examples, spec)
        dense = {name: value.to_tensor(shape=[None, WIDTH]) for name, value in parsed.items()}
        return self._score(dense["quality"], dense["item_id"] != "")


def save_ranker(folder: Path, *, sign: float = 1.0, skew: float = 0.0, order: float = 0.0) -> str:
    """Writes the SavedModel. `skew` is added by `serving_default` only: training-serving skew."""
    model = _Ranker(sign, skew, order)
    signatures = {"serving_default": model.rank_raw, "serving_examples": model.rank_examples}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return str(folder)
