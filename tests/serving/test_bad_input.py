"""Malformed requests over both transports: a code and a text, and the server goes on unharmed."""

from __future__ import annotations

import http.client
import json
import os
import random
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
)

from tests.serving.conftest import Running, make_predict_request, servers
from tests.serving.saved_models import save_slate_model

METHODS = {
    "PredictionService/Predict": predict_pb2.PredictRequest,
    "PredictionService/Classify": classification_pb2.ClassificationRequest,
    "PredictionService/MultiInference": inference_pb2.MultiInferenceRequest,
    "PredictionService/GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "ModelService/GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}
AT_ONCE = 20
SLATE = {
    "user_id": np.array([b"u"], object),
    "item_id": np.array([[b"a", b"b"]], object),
    "duration": np.float32([[1.0, 2.0]]),
}
DOCUMENTS = [
    b'{"instances": [{"user_id": "u", "item_id": ["a", "b"], "duration": [1, 2.5]}]}',
    b'{"signature_name": "scalar", "inputs": {"x": 1.5, "n": 3}}',
    b'{"signature_name": "serving_examples", "inputs": [{"b64": "CgA="}]}',
    b'{"signature_name": "classify", "examples": [{"item_id": ["a"], "duration": [1e3]}]}',
]
PIECES = [b"[", b"]", b"{", b"}", b'"', b":", b",", b"NaN", b"-1e999", b"null", b"\\u0000", b"\xff"]


def mutated(random_source: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, cut, doubled, or joined by a meaningful piece."""
    changed = bytearray(data)
    for _ in range(random_source.randint(1, 6)):
        place = random_source.randrange(len(changed) + 1)
        kind = random_source.randrange(5)
        if kind == 0 and changed:
            changed[place % len(changed)] = random_source.randrange(256)
        elif kind == 1:
            del changed[place : place + random_source.randint(1, 20)]
        elif kind == 2:
            changed[place:place] = changed[place : place + random_source.randint(1, 30)]
        elif kind == 3:
            changed[place:place] = random_source.choice(PIECES)
        else:
            changed[place:place] = random_source.randbytes(random_source.randint(1, 9))
    return bytes(changed)


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fuzz_grpc(running: Running, count: int, seed: int) -> set[str]:
    source = random.Random(seed)
    valid = [
        make_predict_request(**SLATE).SerializeToString(),
        make_predict_request(
            signature="scalar", x=np.float32(1), n=np.int64(2)
        ).SerializeToString(),
        make_predict_request("half", x=np.float32([[1.0]])).SerializeToString(),
    ]
    calls = [running.channel.unary_unary(f"/tensorflow.serving.{name}") for name in METHODS]
    codes = set()
    for start in range(0, count, AT_ONCE):
        # Several under way: those that wait are answered together.
        under_way = [
            source.choice(calls).future(mutated(source, source.choice(valid)), timeout=60)
            for _ in range(min(AT_ONCE, count - start))
        ]
        codes.update(one.code().name for one in under_way)
    return codes


def fuzz_rest(running: Running, count: int, seed: int) -> set[int]:
    source = random.Random(seed)
    statuses = set()
    connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)
    for _ in range(count):
        verb = source.choice(["predict", "classify", "regress"])
        body = mutated(source, source.choice(DOCUMENTS))
        connection.request("POST", f"/v1/models/slates:{verb}", body)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            assert list(json.loads(text)) == ["error"]
        statuses.add(response.status)
    connection.close()
    return statuses


EXPECTED_CODES = {
    "OK",
    "INTERNAL",  # bytes that are no message: gRPC's own answer
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
}
EXPECTED_STATUSES = {200, 400, 404}


def still_ranks(running: Running) -> bool:
    response = running.prediction.Predict(make_predict_request(version=1, **SLATE), timeout=10)
    return list(response.outputs["score"].float_val) == [11.0, 22.0]


def test_a_thousand_malformed_requests(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    codes = fuzz_grpc(running, 700, seed=1)
    assert {"INTERNAL", "INVALID_ARGUMENT"} <= codes <= EXPECTED_CODES
    statuses = fuzz_rest(running, 300, seed=2)
    assert 400 in statuses
    assert statuses <= EXPECTED_STATUSES
    assert still_ranks(running)
    # Nothing surprised the server's own code.
    assert "failed unexpectedly" not in caplog.text


@pytest.mark.slow
def test_a_hundred_thousand_malformed_requests_leave_no_trace(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    fuzz_grpc(running, 5_000, seed=3)
    fuzz_rest(running, 2_000, seed=4)
    before = resident_bytes()
    for seed in range(10):
        assert fuzz_grpc(running, 7_000, seed=10 + seed) <= EXPECTED_CODES
        assert fuzz_rest(running, 3_000, seed=30 + seed) <= EXPECTED_STATUSES
    assert still_ranks(running)
    assert resident_bytes() - before < 50 << 20
    assert "failed unexpectedly" not in caplog.text


@pytest.fixture
def small_memory_requests() -> list[predict_pb2.PredictRequest]:
    """Small requests that ask for a lot of memory."""
    requests = []
    for size in (1 << 40, 1 << 62, (1 << 63) - 1):
        request = make_predict_request("half", x=np.float32([[1.0]]))
        proto = request.inputs["x"]
        proto.ClearField("tensor_content")
        proto.float_val.append(1.0)
        proto.tensor_shape.dim[0].size = size
        requests.append(request)
        text = make_predict_request(**SLATE)
        text.inputs["item_id"].tensor_shape.dim[1].size = size
        requests.append(text)
    return requests


def test_small_requests_for_huge_tensors_are_refused(
    running: Running, small_memory_requests: list[predict_pb2.PredictRequest]
) -> None:
    for request in small_memory_requests:
        with pytest.raises(grpc.RpcError) as caught:
            running.prediction.Predict(request, timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "tensor parsing error" in caught.value.details()
    assert still_ranks(running)


def test_many_connections_at_once(running: Running) -> None:
    channels = [
        grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(100)
    ]
    call = "/tensorflow.serving.PredictionService/Predict"
    request = make_predict_request(version=1, **SLATE).SerializeToString()
    pending = [channel.unary_unary(call).future(request, timeout=60) for channel in channels]
    assert all(predict_pb2.PredictResponse.FromString(one.result()).outputs for one in pending)
    for channel in channels:
        channel.close()


def test_a_version_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    """A version that is a link to itself: no file system reads it."""
    save_slate_model(tmp_path / "model" / "1")
    os.symlink("2", tmp_path / "model" / "2")
    with servers() as start:
        running = start(model_base_path=str(tmp_path / "model"))
        request = make_predict_request("default", **SLATE)
        assert running.prediction.Predict(request, timeout=10).model_spec.version.value == 1
