"""PredictionService.Predict: what it answers and how it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from serving import tensors
from tests.serving.conftest import Running, make_predict_request

ITEMS = np.array([[b"apple", b"banana", b""]], object)
SLATE = {
    "user_id": np.array([b"u1"], object),
    "item_id": ITEMS,
    "duration": np.array([[3.0, 5.0, 7.0]], np.float32),
}


def refused(running: Running, request: predict_pb2.PredictRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Predict(request, timeout=10)
    return caught.value.code(), caught.value.details()


def test_tf2_model_with_string_inputs_and_a_table(running: Running) -> None:
    response = running.prediction.Predict(make_predict_request(version=1, **SLATE))
    # weight 1 × duration + 10 for "a", 20 for "b"; padding is -1
    assert list(response.outputs["score"].float_val) == [13.0, 25.0, -1.0]
    assert response.outputs["score"].dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in response.outputs["score"].tensor_shape.dim] == [1, 3]
    assert response.model_spec.name == "slates"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 1


def test_without_a_version_the_newest_answers(running: Running) -> None:
    response = running.prediction.Predict(make_predict_request(**SLATE))
    assert list(response.outputs["score"].float_val) == [16.0, 30.0, -1.0]
    assert response.model_spec.version.value == 2


def test_a_label_stands_for_its_version(running: Running) -> None:
    for label, version in (("stable", 1), ("canary", 2)):
        response = running.prediction.Predict(make_predict_request(label=label, **SLATE))
        assert response.model_spec.version.value == version


def test_tf1_model(running: Running) -> None:
    response = running.prediction.Predict(make_predict_request("half", x=np.float32([[2.0]])))
    assert list(response.outputs["y"].float_val) == [3.0]
    assert response.model_spec.version.value == 123


def test_examples_signature(running: Running) -> None:
    example = tf.train.Example()
    example.features.feature["item_id"].bytes_list.value.extend([b"b1", b"c1"])
    example.features.feature["duration"].float_list.value.extend([1.0, 2.0])
    examples = np.array([example.SerializeToString()], object)
    request = make_predict_request(signature="serving_examples", version=1, examples=examples)
    response = running.prediction.Predict(request)
    assert list(response.outputs["score"].float_val) == [21.0, 2.0]
    assert response.model_spec.signature_name == "serving_examples"


def test_scalars_in_and_out(running: Running) -> None:
    request = make_predict_request(signature="scalar", x=np.float32(1.5), n=np.int64(4))
    outputs = running.prediction.Predict(request).outputs
    assert list(outputs["product"].float_val) == [6.0]
    assert list(outputs["n"].int64_val) == [4]
    assert list(outputs["text"].string_val) == [b"4"]
    assert all(not output.tensor_shape.dim for output in outputs.values())


def test_output_filter_chooses_outputs(running: Running) -> None:
    request = make_predict_request(
        signature="scalar", outputs=("n",), x=np.float32(1.5), n=np.int64(4)
    )
    assert list(running.prediction.Predict(request).outputs) == ["n"]


def test_typed_values_and_a_single_value_that_fills_the_shape(running: Running) -> None:
    request = make_predict_request(version=1, **SLATE)
    duration = request.inputs["duration"]
    duration.ClearField("tensor_content")
    duration.float_val.append(4.0)
    response = running.prediction.Predict(request)
    assert list(response.outputs["score"].float_val) == [14.0, 24.0, -1.0]


def test_requests_larger_than_grpcs_default_limit_of_4_mb(running: Running) -> None:
    wide = 600_000
    request = make_predict_request(
        version=1,
        user_id=np.array([b"u"], object),
        item_id=np.array([[b"apple"] * wide], object),
        duration=np.ones((1, wide), np.float32),
    )
    assert request.ByteSize() > 6_000_000
    response = running.prediction.Predict(request)
    scores = tensors.to_array(response.outputs["score"])
    assert scores.shape == (1, wide)
    assert set(scores.ravel().tolist()) == {11.0}


def test_model_spec_is_required(running: Running) -> None:
    assert refused(running, predict_pb2.PredictRequest()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )
    assert refused(running, make_predict_request("")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    )


def test_unknown_model_version_and_label(running: Running) -> None:
    assert refused(running, make_predict_request("nobody")) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
    )
    assert refused(running, make_predict_request(version=99)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(slates, 99)",
    )
    # TensorFlow Serving looks labels up before models: INVALID_ARGUMENT, not NOT_FOUND.
    assert refused(running, make_predict_request(label="beta")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: beta",
    )


def test_unknown_signature(running: Running) -> None:
    assert refused(running, make_predict_request(signature="nothing")) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "nothing" not found.',
    )


def test_missing_and_extra_inputs_are_named(running: Running) -> None:
    code, text = refused(running, make_predict_request("half"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text == (
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}."
    )
    one = np.float32([[1.0]])
    code, text = refused(running, make_predict_request("half", x=one, z=one))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "Sent extra: {z}. Missing but required: {}." in text
    code, text = refused(running, make_predict_request("half", z=one))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "Signature input alias: x(feed name: x:0) not found in request" in text


def test_wrong_output_filter(running: Running) -> None:
    one = np.float32([[1.0]])
    assert refused(running, make_predict_request("half", outputs=("q",), x=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    )
    assert refused(running, make_predict_request("half", outputs=("y", "y"), x=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "duplicate output tensor alias: y",
    )


def test_wrong_dtype(running: Running) -> None:
    code, text = refused(running, make_predict_request("half", x=np.int64([[1]])))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "int64" in text
    assert "float" in text


def test_wrong_shape_is_the_graphs_own_error(running: Running) -> None:
    short = dict(SLATE, duration=np.ones((1, 2), np.float32))
    code, text = refused(running, make_predict_request(**short))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "[1,2]" in text.replace(" ", "")


def test_a_tensor_that_does_not_fill_its_shape(running: Running) -> None:
    request = make_predict_request("half", x=np.float32([[1.0]]))
    request.inputs["x"].tensor_shape.dim[0].size = 5
    code, text = refused(running, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("tensor parsing error: x")


def test_bytes_that_are_no_request(running: Running) -> None:
    call = running.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", timeout=10)
    assert caught.value.code() == grpc.StatusCode.INTERNAL


def test_a_request_whose_deadline_passed_in_the_queue_is_not_run(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    running = start_server(model_base_path=f"{saved_models}/slates", grpc_max_threads=1)
    servable = running.server.manager.acquire(make_predict_request("default").model_spec)
    runs = []
    run = servable.engine.run

    def slow_run(*arguments: Any) -> Any:
        runs.append(arguments)
        time.sleep(0.5)
        return run(*arguments)

    servable.engine.run = slow_run  # type: ignore[method-assign]
    with servable:
        request = make_predict_request("default", **SLATE)
        first = running.prediction.Predict.future(request, timeout=10)
        while not runs:
            time.sleep(0.01)
        second = running.prediction.Predict.future(request, timeout=0.2)
        assert second.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert first.exception() is None
        running.prediction.GetModelMetadata(
            get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=request.model_spec, metadata_field=["signature_def"]
            )
        )
    assert len(runs) == 1
