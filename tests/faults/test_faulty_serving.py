"""The server killed under load, and damaged versions that arrive while it answers."""

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, prediction_service_pb2_grpc

from pipeline.version_folder import write_checksums
from tests.faults import processes
from tests.faults.damage import damage, files_in
from tests.serving.conftest import free_port, make_predict_request, servers
from tests.serving.saved_models import save_slate_model

pytestmark = pytest.mark.slow

KILLS, DAMAGED = 12, 30
WAIT = 120  # seconds
State = get_model_status_pb2.ModelVersionStatus.State
# What a client may hear while there is no server; anything else is a wrong answer.
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND}
REQUEST = make_predict_request(
    "slates",
    user_id=np.array([b"u"], object),
    item_id=np.array([[b"a", b"c"]], object),
    duration=np.float32([[1.0, 4.0]]),
)


def push(base, version, weight):
    save_slate_model(base / f".incoming-{version}", weight=weight)
    write_checksums(base / f".incoming-{version}")
    os.rename(base / f".incoming-{version}", base / str(version))


class Client(threading.Thread):
    """Asks all the time; keeps each score and each error."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.scores, self.errors, self.done = [], [], threading.Event()
        self._address = address

    def run(self):
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 100),
        ]
        with grpc.insecure_channel(self._address, options=options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.done.is_set():
                try:
                    answer = stub.Predict(REQUEST, timeout=WAIT)
                    self.scores.append(tf.make_ndarray(answer.outputs["score"]).tolist())
                except grpc.RpcError as error:
                    self.errors.append((error.code(), error.details()))
                    time.sleep(0.02)

    def next_score(self):
        """Waits for one more answer; returns it."""
        before, ends = len(self.scores), time.monotonic() + WAIT
        while len(self.scores) <= before:
            assert time.monotonic() < ends, self.errors[-3:]
            time.sleep(0.01)
        return self.scores[-1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def test_killed_under_load_it_answers_as_before_once_it_is_started_again(tmp_path, count):
    base, port, dice = tmp_path / "slates", free_port(), random.Random(0)
    push(base, 1, 1.0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([processes.__name__])
    flags = (f"--port={port}", "--model_name=slates", f"--model_base_path={base}")
    before = {path: path.read_bytes() for path in files_in(base)}
    with Client(f"127.0.0.1:{port}") as client:
        for number in range(KILLS):
            kind = (signal.SIGKILL, signal.SIGTERM)[number % 2]
            server = context.Process(target=processes.serve, args=(tmp_path / "log", *flags))
            server.start()
            if number > KILLS // 3:  # the others die while they start
                client.next_score()
            time.sleep(dice.random())
            os.kill(server.pid, kind)
            server.join(WAIT)
            answered = number > KILLS // 3
            assert server.exitcode in ((-kind,) if kind == signal.SIGKILL else (0, -kind, 1))
            assert server.exitcode == 0 or kind == signal.SIGKILL or not answered
            count(
                f"{kind.name} of the server, {'under load' if answered else 'at its start'}",
                "no wrong answer; the same scores after a restart",
            )
        server = context.Process(target=processes.serve, args=(tmp_path / "log", *flags))
        server.start()
        client.next_score()
        os.kill(server.pid, signal.SIGTERM)
        server.join(WAIT)
        assert server.exitcode == 0
    assert len(set(map(str, client.scores))) == 1
    assert {code for code, _ in client.errors} <= AWAY, client.errors
    assert {path: path.read_bytes() for path in files_in(base)} == before


def test_damaged_versions_that_arrive_under_load_are_refused_and_cost_no_request(tmp_path, count):
    base, good, dice = tmp_path / "slates", tmp_path / "good", random.Random(1)
    push(base, 1, 1.0)
    push(good, 9, 2.0)
    with servers() as start:
        running = start(
            model_name="slates",
            model_base_path=str(base),
            file_system_poll_wait_seconds=1,
            max_num_load_retries=0,
        )
        with Client(running.address) as client:
            expected = client.next_score()
            for version in range(2, 2 + DAMAGED):
                incoming = base / f".incoming-{version}"
                shutil.copytree(good / "9", incoming)
                path = dice.choice(
                    [path for path in files_in(incoming) if path.name != "SHA256SUMS"]
                )
                kind = damage(path, dice)
                os.rename(incoming, base / str(version))
                refused = wait_for_end(running, version)
                assert refused.error_code == grpc.StatusCode.DATA_LOSS.value[0]
                place = base / str(version) / path.relative_to(incoming)
                assert f"{place} is not the file that was pushed" in refused.error_message
                assert client.next_score() == expected
                count(f"pushed version under load, {kind}", "refused by name; the old one answers")
            os.rename(good / "9", base / "999")
            ends = time.monotonic() + WAIT
            while client.next_score() == expected:
                assert time.monotonic() < ends
        assert client.errors == []
        assert len(set(map(str, client.scores))) == 2


def wait_for_end(running, version):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "slates"
    ends = time.monotonic() + WAIT
    while time.monotonic() < ends:
        for one in running.models.GetModelStatus(request, timeout=WAIT).model_version_status:
            if one.version == version and one.state == State.END:
                return one.status
        time.sleep(0.05)
    raise AssertionError(f"version {version} was not tried in {WAIT} s")
