"""Classify, Regress, MultiInference and GetModelMetadata over gRPC."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from serving import inference
from serving.errors import ServingError
from tests.serving.conftest import Running

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def examples(*values: float) -> input_pb2.Input:
    made = input_pb2.Input()
    for value in values:
        example = made.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return made


def spec(signature: str, model: str = "half") -> dict[str, Any]:
    return {"name": model, "signature_name": signature}


def test_classify(running: Running) -> None:
    request = classification_pb2.ClassificationRequest(
        model_spec=spec("classify_x_to_y"), input=examples(2.0, 4.0)
    )
    response = running.prediction.Classify(request, timeout=10)
    scores = [
        [(one.label, one.score) for one in example.classes]
        for example in response.result.classifications
    ]
    assert scores == [[("", 3.0)], [("", 4.0)]]
    assert response.model_spec.name == "half"
    assert response.model_spec.signature_name == "classify_x_to_y"
    assert response.model_spec.version.value == 123


def test_classify_with_labels_and_a_context_shared_by_all_examples(running: Running) -> None:
    shared = input_pb2.Input()
    context = shared.example_list_with_context.context
    context.features.feature["item_id"].bytes_list.value.extend([b"a", b"c"])
    for durations in ([1.0, 2.0], [3.0, 4.0]):
        example = shared.example_list_with_context.examples.add()
        example.features.feature["duration"].float_list.value.extend(durations)
    request = classification_pb2.ClassificationRequest(
        model_spec={**spec("classify", "slates"), "version": {"value": 1}}, input=shared
    )
    response = running.prediction.Classify(request, timeout=10)
    scores = [
        [(one.label, one.score) for one in example.classes]
        for example in response.result.classifications
    ]
    assert scores == [[("11", 11.0), ("2", 2.0)], [("13", 13.0), ("4", 4.0)]]


def test_regress(running: Running) -> None:
    request = regression_pb2.RegressionRequest(
        model_spec=spec("regress_x_to_y"), input=examples(2.0, 4.0)
    )
    response = running.prediction.Regress(request, timeout=10)
    assert [one.value for one in response.result.regressions] == [3.0, 4.0]
    assert response.model_spec.signature_name == "regress_x_to_y"


@pytest.mark.parametrize(
    ("signature", "code", "text"),
    [
        ("nothing", "INVALID_ARGUMENT", "No signature was found with the name: nothing"),
        ("serving_default", "FAILED_PRECONDITION", "No classification inputs found"),
        ("regress_x_to_y", "FAILED_PRECONDITION", 'at least one of "classes" or "scores"'),
    ],
)
def test_classify_on_a_signature_that_cannot(
    running: Running, signature: str, code: str, text: str
) -> None:
    request = classification_pb2.ClassificationRequest(
        model_spec=spec(signature), input=examples(1.0)
    )
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Classify(request, timeout=10)
    assert caught.value.code().name == code
    assert text in caught.value.details()


@pytest.mark.parametrize(
    ("signature", "model", "text"),
    [
        ("classify_x_to_y", "half", "No regression outputs found in SignatureDef"),
        ("serving_default", "slates", "Expected one input Tensor."),
        ("classify", "slates", "Expected one output Tensor."),
    ],
)
def test_regress_on_a_signature_that_cannot(
    running: Running, signature: str, model: str, text: str
) -> None:
    request = regression_pb2.RegressionRequest(
        model_spec=spec(signature, model), input=examples(1.0)
    )
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Regress(request, timeout=10)
    assert text in caught.value.details()


def test_requests_without_spec_or_examples(running: Running) -> None:
    for request, text in (
        (classification_pb2.ClassificationRequest(input=examples(1.0)), "Missing ModelSpec"),
        (
            classification_pb2.ClassificationRequest(model_spec=spec("classify_x_to_y")),
            "Input is empty.",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            running.prediction.Classify(request, timeout=10)
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            text,
        )


def tasks(*pairs: tuple[str, str], model: str = "half") -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest(input=examples(2.0))
    for signature, method in pairs:
        request.tasks.add(model_spec=spec(signature, model), method_name=method)
    return request


def test_multi_inference_answers_each_task_in_order(running: Running) -> None:
    request = tasks(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    response = running.prediction.MultiInference(request, timeout=10)
    regression, classification = response.results
    assert [one.value for one in regression.regression_result.regressions] == [3.0]
    classes = classification.classification_result.classifications[0].classes
    assert [one.score for one in classes] == [3.0]
    assert [one.model_spec.signature_name for one in response.results] == [
        "regress_x_to_y",
        "classify_x_to_y",
    ]
    assert {one.model_spec.version.value for one in response.results} == {123}


def test_multi_inference_refuses(running: Running) -> None:
    mixed = tasks(("regress_x_to_y", REGRESS))
    mixed.tasks.add(model_spec=spec("classify", "slates"), method_name=CLASSIFY)
    for request, code, text in (
        (tasks(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (tasks(("regress_x_to_y", REGRESS), model=""), "INVALID_ARGUMENT", "no name specified"),
        (mixed, "INVALID_ARGUMENT", "must access the same model name."),
        (
            tasks(("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (tasks(("none", REGRESS)), "INVALID_ARGUMENT", "Requested signature not found in model"),
        (
            tasks(("regress_x_to_y", "tensorflow/serving/predict")),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            tasks(("classify_x_to_y", CLASSIFY), ("regress_other", REGRESS)),
            "INVALID_ARGUMENT",
            "Input tensor must be the same for all Signatures.",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            running.prediction.MultiInference(request, timeout=10)
        assert caught.value.code().name == code
        assert text in caught.value.details()


def test_metadata_lists_the_signatures(running: Running) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "slates"
    response = running.prediction.GetModelMetadata(request, timeout=10)
    assert response.model_spec.version.value == 2
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) >= {"serving_default", "serving_examples", "scalar"}
    inputs = signatures.signature_def["serving_default"].inputs
    assert set(inputs) == {"user_id", "item_id", "duration"}


def test_metadata_refuses(running: Running) -> None:
    field = get_model_metadata_pb2.GetModelMetadataRequest
    for request, text in (
        (field(metadata_field=["signature_def"]), "Missing ModelSpec"),
        (
            field(model_spec={"name": "half"}),
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            field(model_spec={"name": "half"}, metadata_field=["graph"]),
            "Metadata field graph is not supported",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            running.prediction.GetModelMetadata(request, timeout=10)
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            text,
        )


def test_method_names_are_checked_on_request(running: Running) -> None:
    """With the flag, a TF2 signature, whose method is always predict, cannot classify."""
    options = dataclasses.replace(running.server.options, enable_signature_method_name_check=True)
    request = classification_pb2.ClassificationRequest(
        model_spec=spec("classify", "slates"), input=examples(1.0)
    )
    with (
        running.server.manager.acquire(request.model_spec) as servable,
        pytest.raises(ServingError, match="Expected classification signature method_name to be"),
    ):
        inference.classify(servable, request, inference.Call(options))
