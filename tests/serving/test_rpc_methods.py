"""Requests that come in together are answered as each would be alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from serving.core import ServerCore
from serving.metrics import Metrics
from serving.rpc_methods import Method, run, run_together, server_methods
from tests.serving.conftest import Running, make_predict_request


def some_requests() -> list[bytes]:
    """Good ones of two shapes and two signatures, wrong ones, and such that are no message."""
    requests = []
    for number in range(48):
        inputs: dict[str, Any] = {
            "user_id": np.array([b"u"], object),
            "item_id": np.array([[b"a", b"c"] * (1 + number % 2)], object),
            "duration": np.float32([[number, 0.5] * (1 + number % 2)]),
        }
        if number % 8 == 3:
            del inputs["duration"]
        if number % 8 == 5:
            inputs["duration"] = np.int64([[1, 2]])
        version = 7 if number % 16 == 9 else None
        request = make_predict_request("default", version=version, **inputs)
        if number % 16 == 1:
            request = make_predict_request("default", "scalar", x=np.float32(2), n=np.int64(number))
        requests.append(b"\xff" if number % 16 == 15 else request.SerializeToString())
    return requests


@pytest.mark.parametrize("batches", [False, True])
def test_together_as_alone(
    start_server: Callable[..., Running], saved_models: Path, batches: bool
) -> None:
    running = start_server(model_base_path=f"{saved_models}/slates", enable_batching=batches)
    server = running.server
    requests = some_requests()

    def answers(together: bool) -> tuple[list[Any], list[str]]:
        metrics = Metrics()
        core = ServerCore(server.options, server.manager, metrics)
        method = server_methods(core)["/tensorflow.serving.PredictionService/Predict"]
        if together:
            results = run_together(method, [(request, 1.0) for request in requests])
        else:
            results = [run(method, request, lambda: True, 1.0) for request in requests]
        # The response's map of outputs has no order on the wire.
        read = [
            predict_pb2.PredictResponse.FromString(one) if isinstance(one, bytes) else one
            for one in results
        ]
        page = [line.partition(" ") for line in metrics.page().splitlines()]
        return read, [f"{name} {value}" for name, _, value in page if "_count" in name]

    together, alone = answers(True), answers(False)
    assert together == alone
    assert len({str(one) for one in together[0]}) > 30


def test_a_request_whose_deadline_has_passed_is_not_among_them() -> None:
    ran: list[bytes] = []

    def together(requests: Any) -> list[Any]:
        ran.extend(requests)
        return list(requests)

    method = Method(lambda data, is_active: data, together=together)
    results = run_together(method, [(b"a", 1.0), (b"b", -0.1), (b"c", 1.0)])
    assert (results[0], results[2]) == (b"a", b"c")
    assert results[1][0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert ran == [b"a", b"c"]


def test_what_fails_them_all_fails_each() -> None:
    def together(requests: Any) -> list[Any]:
        raise RuntimeError("no memory")

    method = Method(lambda data, is_active: data, together=together)
    results = run_together(method, [(b"a", 1.0), (b"b", 1.0)])
    assert results == [(grpc.StatusCode.INTERNAL, "RuntimeError: no memory")] * 2
