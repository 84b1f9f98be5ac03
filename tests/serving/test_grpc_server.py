"""The gRPC transport: Unix socket, health, channel arguments, answers as raw bytes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import grpc_loop, health, tensors
from serving.errors import ServingError, not_found
from serving.rpc_methods import Method, run
from tests.serving.conftest import Running, make_predict_request

ONE = np.float32([[2.0]])


def predict(channel: grpc.Channel) -> list[float]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(make_predict_request("default", x=ONE), timeout=10)
    return list(response.outputs["y"].float_val)


def test_unix_socket(start_server: Callable[..., Running], saved_models: Path) -> None:
    # A socket's path has at most 107 bytes; the test's own folder may be longer than that.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/grpc.sock"
        running = start_server(model_base_path=f"{saved_models}/half", grpc_socket_path=path)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert predict(channel) == [3.0]
        assert predict(running.channel) == [3.0]


def check_health(channel: grpc.Channel, service: str) -> int:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return int(call(health.HealthCheckRequest(service=service), timeout=10).status)


def watch_health(channel: grpc.Channel, service: str) -> Any:
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return call(health.HealthCheckRequest(service=service), timeout=10)


def test_health(running: Running, start_server: Callable[..., Running], saved_models: Path) -> None:
    assert check_health(running.channel, "") == health.SERVING
    service = "tensorflow.serving.PredictionService"
    assert check_health(running.channel, service) == health.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check_health(running.channel, "nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = watch_health(running.channel, "nothing")
    assert next(watch).status == health.SERVICE_UNKNOWN
    watch.cancel()
    without = start_server(model_base_path=f"{saved_models}/half")
    with pytest.raises(grpc.RpcError) as caught:
        check_health(without.channel, "")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("transport", ["completion queue", "grpc.server"])
def test_both_transports_answer_alike(
    start_server: Callable[..., Running],
    saved_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    """`grpc.server` answers where a release of grpcio has none of what the other needs."""
    if transport == "grpc.server":
        monkeypatch.setattr(grpc_loop, "is_available", lambda server: False)
    running = start_server(
        model_base_path=f"{saved_models}/half", enable_grpc_healthcheck_service=True
    )
    assert predict(running.channel) == [3.0]
    assert check_health(running.channel, "") == health.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Predict(make_predict_request("default", z=ONE), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "not found in request" in caught.value.details()
    raw = running.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff\xff", timeout=10)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    watch = watch_health(running.channel, "")
    assert next(watch).status == health.SERVING
    running.server.stop()
    assert [answer.status for answer in watch] == [health.NOT_SERVING]


def test_a_stop_waits_for_requests_under_way() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(data: bytes, is_active: Callable[[], bool]) -> bytes:
        begun.set()
        go_on.wait(10)
        return data

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    loop = grpc_loop.CompletionLoop(server, {"/a/b": Method(answer)}, threads=2, at_once=2)
    loop.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        under_way = channel.unary_unary("/a/b").future(b"x", timeout=20)
        begun.wait(10)
        stopping = threading.Thread(target=loop.stop, args=(10,))
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()
        go_on.set()
        assert under_way.result() == b"x"
        stopping.join(10)
        assert not stopping.is_alive()
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/a/b")(b"x", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_requests_that_wait_are_answered_together() -> None:
    begun, go_on = threading.Event(), threading.Event()
    taken: list[list[bytes]] = []

    def answer(data: bytes, is_active: Callable[[], bool]) -> bytes:
        taken.append([data])
        if data == b"first":
            begun.set()
            go_on.wait(10)
        if data == b"30":
            raise not_found("no 30")
        return data

    def together(requests: Sequence[bytes]) -> list[bytes | Exception]:
        taken.append(list(requests))
        return [one if one != b"30" else not_found("no 30") for one in requests]

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    method = Method(answer, together=together)
    loop = grpc_loop.CompletionLoop(server, {"/a/b": method}, threads=1, at_once=1)
    loop.start()
    requests = [b"first", *(b"%d" % number for number in range(40))]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/a/b")
        waiting = [call.future(requests[0], timeout=20)]
        assert begun.wait(10)
        waiting += [call.future(one, timeout=20) for one in requests[1:]]
        time.sleep(0.2)
        go_on.set()
        outcomes = [one.exception() or one.result() for one in waiting]
    loop.stop(5)
    assert max(map(len, taken)) > 1
    assert sorted(one for group in taken for one in group) == sorted(requests)
    failed = requests.index(b"30")
    assert outcomes[:failed] + outcomes[failed + 1 :] == requests[:failed] + requests[failed + 1 :]
    assert outcomes[failed].code() == grpc.StatusCode.NOT_FOUND


def test_a_long_request_holds_up_nobody() -> None:
    go_on = threading.Event()

    def answer(data: bytes, is_active: Callable[[], bool]) -> bytes:
        if data == b"long":
            go_on.wait(20)
        return data

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    loop = grpc_loop.CompletionLoop(server, {"/a/b": Method(answer)}, threads=2, at_once=1)
    loop.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/a/b")
        long = call.future(b"long", timeout=30)
        time.sleep(0.1)
        assert [call(b"%d" % number, timeout=10) for number in range(3)] == [b"0", b"1", b"2"]
        assert not long.done()
        go_on.set()
        assert long.result() == b"long"
    loop.stop(5)


def test_a_slow_call_sees_that_its_client_went_away() -> None:
    seen: list[bool] = []
    ended = threading.Event()

    def answer(data: bytes, is_active: Callable[[], bool]) -> bytes:
        seen.append(is_active())
        while is_active():
            time.sleep(0.01)
        ended.set()
        return data

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    loop = grpc_loop.CompletionLoop(
        server, {"/a/b": Method(answer, slow=True)}, threads=1, at_once=1
    )
    loop.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/a/b").future(b"x", timeout=20)
        while not seen:
            time.sleep(0.01)
        call.cancel()
        assert ended.wait(10)
    assert seen == [True]
    loop.stop(5)


def test_a_request_whose_deadline_has_passed_is_not_run() -> None:
    ran: list[bytes] = []
    method = Method(lambda data, is_active: ran.append(data) or data)
    code, text = run(method, b"x", lambda: True, -0.1)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "queue" in text
    assert not ran
    assert run(method, b"x", lambda: True, 0.1) == b"x"


def test_answers_as_tensor_content(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    running = start_server(
        model_base_path=f"{saved_models}/half", enable_serialization_as_tensor_content=True
    )
    output = running.prediction.Predict(make_predict_request("default", x=ONE)).outputs["y"]
    assert output.tensor_content == np.float32(3.0).tobytes()
    assert not output.float_val
    assert tensors.to_array(output).tolist() == [[3.0]]


def test_channel_arguments_reach_grpc(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    running = start_server(
        model_base_path=f"{saved_models}/half",
        grpc_channel_arguments="grpc.max_receive_message_length=1000,grpc.lb_policy_name=grpclb",
    )
    assert predict(running.channel) == [3.0]
    large = make_predict_request("default", x=np.ones((1000, 1), np.float32))
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Predict(large, timeout=10)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(ServingError, match="'nonsense' is not key=value"):
        start_server(model_base_path=f"{saved_models}/half", grpc_channel_arguments="nonsense")


def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    call = running.channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
