"""A ranker to measure servers with: hashed ids, attention over 40 candidates, a small MLP."""

from __future__ import annotations

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

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "user_id"),
            tf.TensorSpec([None, None], tf.int32, "item_id"),
            *(tf.TensorSpec([None, None], tf.float32, name) for name in _NUMBERS),
        ]
    )
    def rank_buckets(
        self, user_id: Any, item_id: Any, duration: Any, popularity: Any, age_hours: Any
    ) -> dict[str, Any]:
        """The ranker on ids hashed by the client, which LiteRT can run; strings it cannot hash."""
        return {"score": self.score(user_id, item_id, [duration, popularity, age_hours])}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user_id"),
            tf.TensorSpec([None, None], tf.string, "item_id"),
            *(tf.TensorSpec([None, None], tf.float32, name) for name in _NUMBERS),
        ]
    )
    def rank(
        self, user_id: Any, item_id: Any, duration: Any, popularity: Any, age_hours: Any
    ) -> dict[str, Any]:
        user = tf.strings.to_hash_bucket_fast(user_id, _BUCKETS)
        items = tf.strings.to_hash_bucket_fast(item_id, _BUCKETS)
        return {"score": self.score(user, items, [duration, popularity, age_hours])}

    def score(self, user: Any, item: Any, columns: list[Any]) -> Any:
        users = tf.gather(self.users, user)
        items = tf.gather(self.items, item)
        users = tf.broadcast_to(users[:, None, :], tf.shape(items))
        numbers = tf.stack(columns, axis=-1)
        x = tf.nn.relu(tf.concat([users, items, numbers], axis=-1) @ self.project)
        attention = tf.nn.softmax((x @ self.queries) @ tf.transpose(x @ self.keys, [0, 2, 1]) / 8.0)
        x += attention @ (x @ self.values)
        for layer in self.hidden[:-1]:
            x = tf.nn.relu(x @ layer)
        return tf.squeeze(x @ self.hidden[-1], axis=-1)


def save(path: str) -> None:
    """Write the model as one version folder."""
    model = SlateRanker()
    tf.saved_model.save(model, path, signatures={"serving_default": model.rank})


def save_buckets(path: str) -> None:
    """The same on hashed ids, with its LiteRT form and a warm-up request to compare them on."""
    model = SlateRanker()
    tf.saved_model.save(model, path, signatures={"serving_default": model.rank_buckets})
    converter = tf.lite.TFLiteConverter.from_saved_model(path)
    Path(path, "model.tflite").write_bytes(converter.convert())
    log = prediction_log_pb2.PredictionLog()
    fill(log.predict_log.request, hashed=True)
    Path(path, "assets.extra").mkdir()
    with tf.io.TFRecordWriter(f"{path}/assets.extra/tf_serving_warmup_requests") as writer:
        writer.write(log.SerializeToString())


def slate(seed: int = 0, *, hashed: bool = False) -> dict[str, Any]:
    """A slate of 40 candidates for it."""
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(size=CANDIDATES).astype(np.float32) for name in _NUMBERS}
    if hashed:
        ids = random.integers(_BUCKETS, size=CANDIDATES + 1).astype(np.int32)
        return {"user_id": ids[0], "item_id": ids[1:], **numbers}
    return {
        "user_id": f"user{random.integers(100_000)}",
        "item_id": [f"item{number}" for number in random.integers(1_000_000, size=CANDIDATES)],
        **numbers,
    }


def fill(request: Any, *, hashed: bool = False) -> None:
    """Put a slate into a PredictRequest."""
    request.model_spec.name = "default"
    for name, value in slate(hashed=hashed).items():
        tensors.fill_proto(request.inputs[name], np.array([value]), as_content=True)
