"""SavedModels other than rankers: every type of tensor, unknown ranks, empty tensors, over gRPC and
REST."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving import tensors
from tests.serving.conftest import Running, free_port, make_predict_request, servers

NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64"]
NUMBERS += ["uint8", "uint16", "uint32", "uint64", "complex64"]
TYPES = [*NUMBERS, "bool", "string"]


def save_echo(path: Path) -> None:
    """A TF1 model with a signature a type that answers its input, whose rank nothing is said of."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = {}
        for name in TYPES:
            x = v1.placeholder(tf.as_dtype(name), None, name=f"{name}_in")
            info = v1.saved_model.build_tensor_info
            signatures[name] = v1.saved_model.build_signature_def(
                {"x": info(x)}, {"y": info(tf.identity(x))}, "tensorflow/serving/predict"
            )
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("echo")
    save_echo(folder / "1")
    with servers() as start:
        yield start(model_name="echo", model_base_path=str(folder), rest_api_port=free_port())


def values(name: str) -> Any:
    if name == "string":
        return np.array([b"", b"a", b"\x00\xff"], object)
    if name == "bool":
        return np.array([True, False, True])
    if name.startswith(("int", "uint")):
        limits = np.iinfo(name)
        return np.array([limits.min, 1, limits.max], name)
    return np.array([-1.5, 0, 2.25], name)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1, 1), ()], ids=str)
@pytest.mark.parametrize("name", TYPES)
def test_every_type_in_any_rank_over_grpc(echo: Running, name: str, shape: tuple[int, ...]) -> None:
    sent = values(name)[1:2].reshape(()) if shape == () else values(name).reshape(shape)
    response = echo.prediction.Predict(make_predict_request("echo", name, x=sent), timeout=20)
    answered = tensors.to_array(response.outputs["y"])
    assert answered.dtype == sent.dtype
    np.testing.assert_array_equal(answered, sent)
    assert answered.shape == shape


@pytest.mark.parametrize("name", ["float32", "int64", "string"])
def test_empty_tensors(echo: Running, name: str) -> None:
    sent = values(name)[:0].reshape(0, 4)
    response = echo.prediction.Predict(make_predict_request("echo", name, x=sent), timeout=20)
    assert tensors.to_array(response.outputs["y"]).shape == (0, 4)


def ask(echo: Running, body: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{echo.rest_port}/v1/models/echo:predict"
    try:
        with urllib.request.urlopen(url, body.encode(), timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("float32", "[[-1.5, 2.25]]"),
        ("float64", "[0.1, 1e+300]"),
        ("float16", "[-1.5, 2.25]"),
        ("int8", "[-128, 127]"),
        ("int64", "[-9223372036854775808, 9223372036854775807]"),
        ("uint64", "[18446744073709551615]"),
        ("bool", "[[true], [false]]"),
        ("string", '["", "Gr\\u00fc\\u00dfe"]'),
    ],
)
def test_types_over_rest(echo: Running, name: str, text: str) -> None:
    status, answer = ask(echo, f'{{"signature_name": "{name}", "inputs": {text}}}')
    assert (status, answer) == (200, {"outputs": json.loads(text)})
    status, answer = ask(echo, f'{{"signature_name": "{name}", "instances": {text}}}')
    assert (status, answer) == (200, {"predictions": json.loads(text)})


def test_bytes_in_base64_over_rest(echo: Running) -> None:
    status, answer = ask(echo, '{"signature_name": "string", "inputs": [{"b64": "YWI="}]}')
    assert (status, answer) == (200, {"outputs": ["ab"]})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("int8", "[128]", "Type: Number is not of expected type: int8"),
        ("uint64", "[-1]", "Type: Number is not of expected type: uint64"),
        ("bool", "[1]", "Type: Number is not of expected type: bool"),
        ("float32", "[1e39]", "to float without loss of precision"),
        ("complex64", "[1.0]", "to type: complex64"),
    ],
)
def test_values_that_do_not_fit_over_rest(
    echo: Running, name: str, text: str, message: str
) -> None:
    status, answer = ask(echo, f'{{"signature_name": "{name}", "inputs": {text}}}')
    assert status == (501 if name == "complex64" else 400)
    assert message in answer["error"]
