"""The REST API: rows and columns, classify and regress, status and metadata, and its errors."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http_server import HttpServer
from serving.json_writer import decimal
from serving.rest import Response
from tests.serving.conftest import Running, free_port, make_predict_request


def call(
    running: Running,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)
    try:
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        assert response.getheader("Content-Type") in ("application/json", "text/plain")
        return response.status, response.read().decode()
    finally:
        connection.close()


def predict(running: Running, body: Any, model: str = "half") -> tuple[int, Any]:
    status, text = call(running, "POST", f"/v1/models/{model}:predict", body)
    return status, json.loads(text)


def refused(running: Running, body: Any, model: str = "half") -> str:
    status, answer = predict(running, body, model)
    assert status == 400
    assert list(answer) == ["error"]
    return str(answer["error"])


ROWS = [
    {"user_id": "u", "item_id": ["a1", "b1"], "duration": [1.5, 2]},
    {"user_id": "v", "item_id": ["c1", ""], "duration": [0.1, 7]},
]
COLUMNS = {
    "user_id": ["u", "v"],
    "item_id": [["a1", "b1"], ["c1", ""]],
    "duration": [[1.5, 2], [0.1, 7]],
}
SCORES = [[11.5, 22.0], [0.1, -1.0]]


def test_predict_by_rows_and_by_columns(running: Running) -> None:
    path = "slates/versions/1"
    assert predict(running, {"instances": ROWS}, path) == (200, {"predictions": SCORES})
    assert predict(running, {"inputs": COLUMNS}, path) == (200, {"outputs": SCORES})


def test_versions_and_labels_in_the_path(running: Running) -> None:
    for where, first in (
        ("slates", 13.0),
        ("slates/labels/stable", 11.5),
        ("slates/labels/canary", 13.0),
    ):
        status, answer = predict(running, {"instances": ROWS}, where)
        assert (status, answer["predictions"][0][0]) == (200, first)


def test_several_outputs_are_objects(running: Running) -> None:
    body = {"signature_name": "classify", "inputs": [_example(item_id=["a"], duration=[1.0])]}
    assert predict(running, body, "slates/versions/1") == (
        200,
        {"outputs": {"classes": [["11"]], "scores": [[11.0]]}},
    )
    body = {"signature_name": "classify", "instances": [_example(item_id=["a"], duration=[1.0])]}
    assert predict(running, body, "slates/versions/1") == (
        200,
        {"predictions": [{"classes": ["11"], "scores": [11.0]}]},
    )


def _example(**features: Any) -> dict[str, str]:
    import tensorflow as tf

    example = tf.train.Example()
    for name, values in features.items():
        if isinstance(values[0], str):
            example.features.feature[name].bytes_list.value.extend(v.encode() for v in values)
        else:
            example.features.feature[name].float_list.value.extend(values)
    return {"b64": base64.b64encode(example.SerializeToString()).decode()}


def test_scalars_by_columns(running: Running) -> None:
    body = {"signature_name": "scalar", "inputs": {"x": 1.5, "n": 4}}
    assert predict(running, body, "slates") == (
        200,
        {"outputs": {"n": 4, "product": 6.0, "text": "4"}},
    )


def test_the_layout_is_tensorflow_servings(running: Running) -> None:
    rows = {"instances": [[2.0], [3.0], [1e9]]}
    _, text = call(running, "POST", "/v1/models/half:predict", rows)
    assert text == '{\n    "predictions": [[3.0], [3.5], [5e+08]\n    ]\n}'
    _, text = call(running, "POST", "/v1/models/half:predict", {"inputs": [[2.0]]})
    assert text == '{\n    "outputs": [\n        [\n            3.0\n        ]\n    ]\n}'
    _, text = call(running, "POST", "/v1/models/nobody:predict", {"instances": [1]})
    assert text == '{\n    "error": "Servable not found for request: Latest(nobody)"\n}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (1.0, "1.0"),
        (1 / 3, "0.333333343"),
        (123456.0, "123456.0"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (16777217.0, "16777216.0"),
        (-0.0, "-0.0"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_floats_are_short_where_that_keeps_their_value(value: float, text: str) -> None:
    assert decimal(float(np.float32(value)), double=False) == text


@given(st.floats(width=32))
def test_printed_floats_read_back_as_the_same_float(value: float) -> None:
    text = decimal(value, double=False)
    assert np.float32(float(text)) == np.float32(value) or (math.isnan(value) and text == "NaN")
    assert any(mark in text for mark in (".", "e", "Inf", "NaN"))


@given(st.floats())
def test_printed_doubles_read_back_as_the_same_double(value: float) -> None:
    text = decimal(value, double=True)
    assert float(text) == value or (math.isnan(value) and text == "NaN")


def test_classify_and_regress(running: Running) -> None:
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}, {"x": [2.0]}]}
    status, text = call(running, "POST", "/v1/models/half:classify", body)
    assert (status, json.loads(text)) == (200, {"results": [[["", 12.0]], [["", 3.0]]]})
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}, {"x": 2.0}]}
    status, text = call(running, "POST", "/v1/models/half/versions/123:regress", body)
    assert (status, text) == (200, '{\n    "results": [42.0, 3.0]\n}')
    body = {
        "signature_name": "classify",
        "context": {"item_id": ["a1", {"b64": "YjI="}]},
        "examples": [{"duration": [1.0, 2.0]}],
    }
    status, text = call(running, "POST", "/v1/models/slates/labels/stable:classify", body)
    assert (status, json.loads(text)) == (200, {"results": [[["11", 11.0], ["22", 22.0]]]})


def test_status_and_metadata(running: Running) -> None:
    status, text = call(running, "GET", "/v1/models/half")
    assert status == 200
    assert text == (
        '{\n "model_version_status": [\n  {\n   "version": "123",\n   "state": "AVAILABLE",\n'
        '   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    for path in ("/v1/models/slates/versions/1", "/v1/models/slates/labels/stable"):
        _, text = call(running, "GET", path)
        assert [one["version"] for one in json.loads(text)["model_version_status"]] == ["1"]
    status, text = call(running, "GET", "/v1/models/half/metadata")
    answer = json.loads(text)
    assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        },
        "name": "x:0",
    }
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("PUT", "/v1/models/half", 400, "Malformed request: PUT /v1/models/half"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/debug/model_name", 400, "Malformed request"),
        ("POST", "/v1/models/half", 400, "Malformed request"),
        ("GET", "/v1/models/half:predict", 400, "Malformed request"),
        ("POST", "/v1/models/half/version/1:predict", 400, "Malformed request"),
        ("POST", "/v1/models/half/versions/x:predict", 400, "Malformed request"),
        ("POST", "/v1/models/half/versions/1/labels/a:predict", 400, "Malformed request"),
        (
            "POST",
            "/v1/models/half/versions/18446744073709551615:predict",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("GET", "/v1/models/nobody", 404, "Could not find any versions of model nobody"),
        ("GET", "/v1/models/no%20body", 404, "Could not find any versions of model no body"),
        ("GET", "/v1/models/half/versions/7", 404, "Could not find version 7 of model half"),
        ("GET", "/v1/models/half/versions/7/metadata", 404, "Specific(half, 7)"),
        ("GET", "/v1/models/half/labels/x", 400, "Unrecognized servable version label: x"),
    ],
)
def test_paths_that_name_nothing(
    running: Running, method: str, path: str, status: int, text: str
) -> None:
    got, body = call(running, method, path, "{}" if method == "POST" else None)
    assert got == status
    assert text in json.loads(body)["error"]


def test_other_paths_are_not_found(running: Running) -> None:
    assert call(running, "GET", "/index.html")[0] == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("instances = [1]", "JSON Parse error: Invalid value. at offset: 0"),
        ('{"instances": [1}', "JSON Parse error: Missing a comma"),
        ("[1, 2]", "Is not object"),
        ("[" * 100_000, "JSON Parse error: Nested too deep"),
        (b"\xff{}", "JSON Parse error: Invalid encoding"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances'"),
        ({"instances": 3}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [["x"]]}, 'JSON Value: "x" Type: String is not of expected type: float'),
        ({"instances": [[True]]}, "Type: True is not of expected type: float"),
        ({"instances": [[None]]}, "JSON Value: null Type: Null is not of expected type: float"),
        ({"instances": [[16777216]]}, "Cannot convert JSON value: 16777216 to float without loss"),
        ({"instances": [[1e39]]}, "Cannot convert JSON value: 1e+39 to float without loss"),
        ({"instances": [[1.0], [1.0, 2.0]]}, "Expecting tensor size: 1 but got: 2"),
        ({"instances": [[[1.0, 2.0]], [[1.0], [2.0]]]}, "Expecting shape [1,2] but got: [2,1]"),
        ({"instances": [[[1.0], 2.0]]}, "found at incorrect level: 2 in the JSON DOM"),
        ({"instances": [[1.0, [2.0]]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"instances": [[1.0], {"x": 1.0}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"x": [1.0]}, [1.0]]}, "Expecting object but got list at item 1"),
        ({"instances": [{"z": 1.0}]}, "JSON object: does not have named input: z"),
        ({"inputs": {"z": 1.0}}, "Missing named input: x in 'inputs' object."),
        ({"signature_name": 5, "instances": [1]}, "'signature_name' key must be a string value."),
        (
            {"signature_name": "none", "instances": [1]},
            'Serving signature name: "none" not found in signature def',
        ),
    ],
)
def test_bodies_that_do_not_fit(running: Running, body: Any, text: str) -> None:
    assert text in refused(running, body)


def test_rows_of_a_model_with_several_inputs(running: Running) -> None:
    assert "expecting list of objects as multiple input tensors" in refused(
        running, {"instances": [1, 2]}, "slates"
    )
    assert "expecting an object as multiple" in refused(running, {"inputs": [1]}, "slates")
    assert "keys must be equal to: duration,item_id,user_id" in refused(
        running, {"instances": [{"user_id": "u"}]}, "slates"
    )
    body = {"signature_name": "scalar", "inputs": {"x": 1.0, "n": 4.5}}
    assert "JSON Value: 4.5 Type: Number is not of expected type: int64" in refused(
        running, body, "slates"
    )
    body = {"signature_name": "scalar", "instances": [{"x": 1.0, "n": 2**63}]}
    assert "is not of expected type: int64" in refused(running, body, "slates")
    assert "Unable to base64 decode" in refused(
        running, {"signature_name": "serving_examples", "instances": [{"b64": "***"}]}, "slates"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "When method is classify, key 'examples' is expected"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [3]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [1.0, "a"]}]}, "Unexpected element type in feature: x"),
        ({"examples": [{"x": 2**63}]}, "has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1.0}], "signature_name": "no"}, "No signature was found"),
    ],
)
def test_examples_that_do_not_fit(running: Running, body: Any, text: str) -> None:
    status, answer = call(running, "POST", "/v1/models/half:classify", body)
    assert status == 400
    assert text in json.loads(answer)["error"]


def test_bytes_outputs_are_base64() -> None:
    from serving.json_responses import predictions
    from serving.tensors import fill_proto
    from serving.wire import PredictResponse

    response = PredictResponse()
    fill_proto(response.outputs["raw_bytes"], np.array([b"\xff\x00"], object), as_content=False)
    fill_proto(response.outputs["text"], np.array([b"a\n"], object), as_content=False)
    assert json.loads(predictions(response.outputs, by_rows=False)) == {
        "outputs": {"raw_bytes": [{"b64": "/wA="}], "text": ["a\n"]}
    }


# HTTP itself ------------------------------------------------------------------------------------


def raw(running: Running, request: bytes, wait: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", running.rest_port), timeout=wait) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def test_one_connection_serves_many_requests(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)
    for value in (2.0, 4.0, 6.0):
        connection.request("POST", "/v1/models/half:predict", json.dumps({"instances": [[value]]}))
        answer = json.loads(connection.getresponse().read())
        assert answer == {"predictions": [[value / 2 + 2]]}
    connection.close()


def test_chunked_and_compressed_bodies(running: Running) -> None:
    body = json.dumps({"instances": [[2.0]]}).encode()
    status, text = call(
        running,
        "POST",
        "/v1/models/half:predict",
        gzip.compress(body),
        {"Content-Encoding": "gzip"},
    )
    assert (status, json.loads(text)) == (200, {"predictions": [[3.0]]})
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    answer = raw(
        running,
        b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"[3.0]" in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/models/half HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: secret\r\n\r\n", 501),
        (b"GET /v1/mod", 400),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nabcd",
            400,
        ),
    ],
)
def test_what_is_not_http_is_refused(running: Running, request_bytes: bytes, status: int) -> None:
    answer = raw(running, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in answer
    assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_silent_and_half_open_clients_hold_no_thread(running: Running) -> None:
    idle = [
        socket.create_connection(("127.0.0.1", running.rest_port), timeout=5) for _ in range(300)
    ]
    for number, connection in enumerate(idle):
        if number % 2:
            connection.sendall(
                b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"
            )
    assert predict(running, {"instances": [[2.0]]}) == (200, {"predictions": [[3.0]]})
    for connection in idle:
        connection.close()
    assert predict(running, {"instances": [[2.0]]})[0] == 200


def test_a_request_that_takes_too_long_is_told(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    running = start_server(
        model_base_path=f"{saved_models}/half",
        rest_api_port=free_port(),
        rest_api_timeout_in_ms=200,
        rest_api_enable_cors_support=True,
    )
    servable = running.server.manager.acquire(make_predict_request("default").model_spec)
    run = servable.engine.run

    def slow_run(*arguments: Any) -> Any:
        time.sleep(0.6)
        return run(*arguments)

    with servable:
        servable.engine.run = slow_run  # type: ignore[method-assign]
        status, answer = predict(running, {"instances": [[2.0]]}, "default")
        assert (status, answer) == (504, {"error": "Timed out waiting for notification"})
    connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)
    connection.request("OPTIONS", "/v1/models/default:predict")
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("Access-Control-Allow-Origin") == "*"
    connection.close()


def test_a_request_that_timed_out_in_the_queue_is_not_run() -> None:
    asked: list[str] = []
    go_on = threading.Event()

    def respond(method: str, path: str, body: bytes) -> Response:
        asked.append(path)
        go_on.wait(10)
        return Response(200, b"{}")

    port = free_port()
    server = HttpServer("127.0.0.1", port, respond, threads=1, timeout_seconds=0.3, cors=False)
    server.start()
    for path in ("/first", "/second"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", path, b"{}")
        assert connection.getresponse().status == 504
        connection.close()
    go_on.set()
    server.stop(1)
    assert asked == ["/first"]
