"""Small SavedModels for the server's tests: TF1 and TF2, strings, examples, scalars, defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def save_half_plus_two(path: Path, *, plus: float = 2.0) -> str:
    """The TF1 model of TensorFlow Serving's own tests: y = x / 2 + `plus`, x a placeholder.

    Signatures: serving_default (x → y), classify_x_to_y and regress_x_to_y (tf.Examples with a
    float feature x).
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.Variable(0.5, name="a", use_resource=False)
        added = v1.Variable(plus, name="b", use_resource=False)
        examples = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = v1.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(half * x, added, name="y")
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        definition = v1.saved_model.build_signature_def
        builder = v1.saved_model.Builder(os.fspath(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": definition(
                    {"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"
                ),
                "classify_x_to_y": definition(
                    {"inputs": info(examples)},
                    {"scores": info(y)},
                    "tensorflow/serving/classify",
                ),
                "regress_x_to_y": definition(
                    {"inputs": info(examples)},
                    {"outputs": info(y)},
                    "tensorflow/serving/regress",
                ),
                "regress_other": definition(
                    {"inputs": info(v1.placeholder(tf.string, [None], name="other"))},
                    {"outputs": info(y)},
                    "tensorflow/serving/regress",
                ),
            },
        )
        builder.save()
    return os.fspath(path)


class SlateModel(tf.Module):  # type: ignore[misc]
    """A ranker in small: score = weight × duration + value of the item's first letter in a table.

    Padding (an empty item id) scores -1.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], [10.0, 20.0]), 0.0
        )

    def score(self, item_id: Any, duration: Any) -> Any:
        letter = tf.strings.substr(item_id, 0, 1)
        scores = self.weight * duration + self.table.lookup(letter)
        return tf.where(item_id == "", -1.0, scores)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user_id"),
            tf.TensorSpec([None, None], tf.string, "item_id"),
            tf.TensorSpec([None, None], tf.float32, "duration"),
        ]
    )
    def serving_default(self, user_id: Any, item_id: Any, duration: Any) -> dict[str, Any]:
        shown = tf.zeros_like(duration) + tf.cast(tf.strings.length(user_id), tf.float32)[:, None]
        return {"score": self.score(item_id, duration) + 0.0 * shown}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_examples(self, examples: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(
            examples,
            {
                "item_id": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
                "duration": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
            },
        )
        return {"score": self.score(parsed["item_id"], parsed["duration"])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs: Any) -> dict[str, Any]:
        scores = self.serving_examples(inputs)["score"]
        return {"classes": tf.strings.as_string(tf.cast(scores, tf.int32)), "scores": scores}

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.float32, "x"), tf.TensorSpec([], tf.int64, "n")]
    )
    def scalar(self, x: Any, n: Any) -> dict[str, Any]:
        return {"product": x * tf.cast(n, tf.float32), "n": n, "text": tf.strings.as_string(n)}


def save_slate_model(path: Path, *, weight: float = 1.0) -> str:
    """A TF2 model with four signatures; see `SlateModel`."""
    model = SlateModel(weight)
    tf.saved_model.save(
        model,
        os.fspath(path),
        signatures={
            "serving_default": model.serving_default,
            "serving_examples": model.serving_examples,
            "classify": model.classify,
            "scalar": model.scalar,
        },
    )
    return os.fspath(path)


def write_warmup(version: Path, requests: list[Any]) -> None:
    """Put Predict requests into a version's warm-up file."""
    folder = version / "assets.extra"
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(folder / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
