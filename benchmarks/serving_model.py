"""A ranker to measure servers with: hashed ids, attention over 40 candidates, a small MLP."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import tensors

CANDIDATES = 40
_WIDTH = 64
_BUCKETS = 4096
_NUMBERS = ("duration", "popularity", "age_hours")
_SLATE = [
    tf.TensorSpec([None], tf.string, "user_id"),
    tf.TensorSpec([None, None], tf.string, "item_id"),
    *(tf.TensorSpec([None, None], tf.float32, name) for name in _NUMBERS),
]


class SlateRanker(tf.Module):
    """About 3.4 MFLOP a slate, with raw strings and floats as inputs."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(1)

        def weight(*shape: int) -> tf.Variable:
            return tf.Variable((random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32))

        self.users = weight(_BUCKETS, 32)
        self.items = weight(_BUCKETS, 32)
        wide = 32 + 32 + len(_NUMBERS)
        self.project = weight(wide, _WIDTH)
        self.queries, self.keys, self.values = (weight(_WIDTH, _WIDTH) for _ in range(3))
        self.hidden = [weight(_WIDTH, 160), weight(160, 64), weight(64, 1)]

    @tf.function(input_signature=_SLATE)
    def rank(
        self, user_id: Any, item_id: Any, duration: Any, popularity: Any, age_hours: Any
    ) -> dict[str, Any]:
        return self.rank_numbers(
            **self.lite_inputs(user_id, item_id, duration, popularity, age_hours)
        )

    @tf.function(input_signature=_SLATE)
    def lite_inputs(
        self, user_id: Any, item_id: Any, duration: Any, popularity: Any, age_hours: Any
    ) -> dict[str, Any]:
        """What LiteRT, which hashes no strings, needs of TensorFlow."""
        return {
            "user": tf.strings.to_hash_bucket_fast(user_id, _BUCKETS),
            "items": tf.strings.to_hash_bucket_fast(item_id, _BUCKETS),
            "numbers": tf.stack([duration, popularity, age_hours], axis=-1),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "user"),
            tf.TensorSpec([None, None], tf.int64, "items"),
            tf.TensorSpec([None, None, len(_NUMBERS)], tf.float32, "numbers"),
        ]
    )
    def rank_numbers(self, user: Any, items: Any, numbers: Any) -> dict[str, Any]:
        return {"score": self.score(user, items, numbers)}

    def score(self, user: Any, item: Any, numbers: Any) -> Any:
        users = tf.gather(self.users, user)
        items = tf.gather(self.items, item)
        users = tf.broadcast_to(users[:, None, :], tf.shape(items))
        x = tf.nn.relu(tf.concat([users, items, numbers], axis=-1) @ self.project)
        attention = tf.nn.softmax((x @ self.queries) @ tf.transpose(x @ self.keys, [0, 2, 1]) / 8.0)
        x += attention @ (x @ self.values)
        for layer in self.hidden[:-1]:
            x = tf.nn.relu(x @ layer)
        return tf.squeeze(x @ self.hidden[-1], axis=-1)


def save(path: str, *, lite: bool = False) -> None:
    """Write the model as one version folder.

    Args:
        path: the version folder.
        lite: also what the LiteRT engine needs: the part that hashes strings as a signature of its
            own, the rest as a LiteRT model, and a warm-up request to compare them on.
    """
    model = SlateRanker()
    signatures = {"serving_default": model.rank}
    if lite:
        signatures["lite_inputs"] = model.lite_inputs
    tf.saved_model.save(model, path, signatures=signatures)
    if not lite:
        return
    with tempfile.TemporaryDirectory() as dense:
        tf.saved_model.save(model, dense, signatures={"serving_default": model.rank_numbers})
        converted = tf.lite.TFLiteConverter.from_saved_model(dense).convert()
    Path(path, "assets.extra").mkdir()
    Path(path, "assets.extra/split.tflite").write_bytes(converted)
    log = prediction_log_pb2.PredictionLog()
    fill(log.predict_log.request)
    with tf.io.TFRecordWriter(f"{path}/assets.extra/tf_serving_warmup_requests") as writer:
        writer.write(log.SerializeToString())


def slate(seed: int = 0) -> dict[str, Any]:
    """A slate of 40 candidates for it."""
    random = np.random.default_rng(seed)
    return {
        "user_id": f"user{random.integers(100_000)}",
        "item_id": [f"item{number}" for number in random.integers(1_000_000, size=CANDIDATES)],
        **{name: random.normal(size=CANDIDATES).astype(np.float32) for name in _NUMBERS},
    }


def fill(request: Any) -> None:
    """Put a slate into a PredictRequest."""
    request.model_spec.name = "default"
    for name, value in slate().items():
        tensors.fill_proto(request.inputs[name], np.array([value]), as_content=True)
