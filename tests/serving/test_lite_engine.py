"""The LiteRT engine behind its gate: used where it agrees with TensorFlow, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving.conftest import Running, make_predict_request
from tests.serving.saved_models import write_warmup


class Dense(tf.Module):  # type: ignore[misc]
    """score = x · weight, and a signature with a string that LiteRT has no kernel for."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = tf.Variable([[weight], [1.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def score(self, x: Any) -> dict[str, Any]:
        return {"score": tf.squeeze(x @ self.weight, 1), "twice": 2.0 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def hash(self, text: Any) -> dict[str, Any]:
        return {"bucket": tf.strings.to_hash_bucket_fast(text, 10)}


@pytest.fixture(scope="module")
def lite_bytes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], bytes]:
    """Makes the LiteRT form of the dense signature."""

    def convert(weight: float) -> bytes:
        path = str(tmp_path_factory.mktemp("dense"))
        model = Dense(weight)
        tf.saved_model.save(model, path, signatures={"serving_default": model.score})
        converter = tf.lite.TFLiteConverter.from_saved_model(path)
        return bytes(converter.convert())

    return convert


@pytest.fixture
def version(tmp_path: Path) -> Path:
    model = Dense(3.0)
    tf.saved_model.save(
        model,
        str(tmp_path / "dense" / "1"),
        signatures={"serving_default": model.score, "hash": model.hash},
    )
    return tmp_path / "dense" / "1"


def ask(running: Running) -> predict_pb2.PredictResponse:
    request = make_predict_request("default", x=np.float32([[1, 2], [10, 20]]))
    return running.prediction.Predict(request, timeout=10)


def engine_of(running: Running) -> str:
    with running.server.manager.acquire(make_predict_request("default").model_spec) as servable:
        return servable.engine.name


WARMUP = [make_predict_request("m", x=np.float32([[0.5, -1.0]]))]


def test_a_model_that_agrees_is_used(
    start_server: Callable[..., Running], version: Path, lite_bytes: Callable[[float], bytes]
) -> None:
    (version / "model.tflite").write_bytes(lite_bytes(3.0))
    write_warmup(version, WARMUP)
    running = start_server(model_base_path=str(version.parent), prefer_tflite_model=True)
    assert engine_of(running) == "TFLite"
    # Another batch size than the warm-up's, and both outputs.
    outputs = ask(running).outputs
    assert list(outputs["score"].float_val) == [5.0, 50.0]
    assert list(outputs["twice"].float_val) == [2.0, 4.0, 20.0, 40.0]
    # What LiteRT lacks goes to TensorFlow, and so does a wrong type, for its message.
    hashed = make_predict_request("default", "hash", text=np.array([b"a"], object))
    assert len(running.prediction.Predict(hashed, timeout=10).outputs["bucket"].int64_val) == 1
    with pytest.raises(Exception, match="int64"):
        running.prediction.Predict(
            make_predict_request("default", x=np.int64([[1, 2]])), timeout=10
        )


class Split(tf.Module):  # type: ignore[misc]
    """score = weight × bucket of the text; LiteRT runs what follows the bucket."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def score(self, text: Any) -> dict[str, Any]:
        return self.of_bucket(**self.lite_inputs(text))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def lite_inputs(self, text: Any) -> dict[str, Any]:
        return {"bucket": tf.cast(tf.strings.to_hash_bucket_fast(text, 10), tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "bucket")])
    def of_bucket(self, bucket: Any) -> dict[str, Any]:
        return {"score": self.weight * bucket}


@pytest.mark.parametrize("agrees", [True, False])
def test_a_model_with_strings_runs_in_two_parts(
    start_server: Callable[..., Running], tmp_path: Path, agrees: bool
) -> None:
    version, dense = tmp_path / "split" / "1", str(tmp_path / "dense")
    model, lite = Split(2.0), Split(2.0 if agrees else 2.1)
    tf.saved_model.save(
        model,
        str(version),
        signatures={"serving_default": model.score, "lite_inputs": model.lite_inputs},
    )
    tf.saved_model.save(lite, dense, signatures={"serving_default": lite.of_bucket})
    texts = np.array([b"a", b"b", b"c"], object)
    write_warmup(version, [make_predict_request("m", text=texts)])
    converted = tf.lite.TFLiteConverter.from_saved_model(dense).convert()
    (version / "assets.extra" / "split.tflite").write_bytes(converted)
    running = start_server(model_base_path=str(version.parent), prefer_tflite_model=True)
    assert engine_of(running) == ("TFLite" if agrees else "TF1")
    request = make_predict_request("default", text=texts[:2])
    scores = running.prediction.Predict(request, timeout=10).outputs["score"].float_val
    expected = 2.0 * tf.strings.to_hash_bucket_fast(texts[:2], 10).numpy()
    assert list(scores) == list(expected)


@pytest.mark.parametrize("why", ["differs", "nothing to compare", "garbage", "no file", "not told"])
def test_otherwise_tensorflow_serves_and_says_why(
    start_server: Callable[..., Running],
    version: Path,
    lite_bytes: Callable[[float], bytes],
    caplog: pytest.LogCaptureFixture,
    why: str,
) -> None:
    if why != "no file":
        content = b"nothing" if why == "garbage" else lite_bytes(3.001 if why == "differs" else 3.0)
        (version / "model.tflite").write_bytes(content)
    if why != "nothing to compare":
        write_warmup(version, WARMUP)
    with caplog.at_level("INFO"):
        running = start_server(
            model_base_path=str(version.parent), prefer_tflite_model=why != "not told"
        )
    assert engine_of(running) == "TF1"
    assert list(ask(running).outputs["score"].float_val) == [5.0, 50.0]
    expected = {
        "differs": "differs by more than 1e-05 on a warm-up request",
        "nothing to compare": "no warm-up request to compare them on",
        "garbage": "is not used, TensorFlow serves",
        "no file": "serving the TensorFlow model",
        "not told": "",
    }[why]
    assert expected in caplog.text
