"""A ranker to measure servers with: hashed ids, attention over 40 candidates, a small MLP."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

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
            tf.TensorSpec([None], tf.string, "user_id"),
            tf.TensorSpec([None, None], tf.string, "item_id"),
            *(tf.TensorSpec([None, None], tf.float32, name) for name in _NUMBERS),
        ]
    )
    def rank(
        self, user_id: Any, item_id: Any, duration: Any, popularity: Any, age_hours: Any
    ) -> dict[str, Any]:
        users = tf.gather(self.users, tf.strings.to_hash_bucket_fast(user_id, _BUCKETS))
        items = tf.gather(self.items, tf.strings.to_hash_bucket_fast(item_id, _BUCKETS))
        users = tf.broadcast_to(users[:, None, :], tf.shape(items))
        numbers = tf.stack([duration, popularity, age_hours], axis=-1)
        x = tf.nn.relu(tf.concat([users, items, numbers], axis=-1) @ self.project)
        attention = tf.nn.softmax((x @ self.queries) @ tf.transpose(x @ self.keys, [0, 2, 1]) / 8.0)
        x += attention @ (x @ self.values)
        for layer in self.hidden[:-1]:
            x = tf.nn.relu(x @ layer)
        return {"score": tf.squeeze(x @ self.hidden[-1], axis=-1)}


def save(path: str) -> None:
    """Write the model as one version folder."""
    model = SlateRanker()
    tf.saved_model.save(model, path, signatures={"serving_default": model.rank})


def slate(seed: int = 0) -> dict[str, Any]:
    """A slate of 40 candidates for it."""
    random = np.random.default_rng(seed)
    return {
        "user_id": f"user{random.integers(100_000)}",
        "item_id": [f"item{number}" for number in random.integers(1_000_000, size=CANDIDATES)],
        **{name: random.normal(size=CANDIDATES).astype(np.float32) for name in _NUMBERS},
    }
