"""The model server in a fresh process, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipeline.child_process import ending_with_us

_CALL_SECONDS = 30.0
_POLL_SECONDS = 0.2
_LOG_TAIL_LINES = 40
_State = get_model_status_pb2.ModelVersionStatus.State


class ServingError(RuntimeError):
    """The server did not do what a client may expect; the message says what and shows its log."""


class ServerProcess:
    """`python -m serving` on loopback, with one model.

    Args:
        base_path: The folder with `<version>/` in it.
        model_name: The name to serve it under.
        log_file: Where the server's output goes.
        port: None: a free one.
        model_config_file: Names the model and its labels instead, and is read again every second.
    """

    def __init__(
        self,
        base_path: Path,
        model_name: str,
        log_file: Path,
        *,
        port: int | None = None,
        model_config_file: Path | None = None,
    ) -> None:
        self._model_name = model_name
        self._log_file = log_file
        self._port = port
        self._model_flags = [f"--model_name={model_name}", f"--model_base_path={base_path}"]
        if model_config_file is not None:
            self._model_flags = [
                f"--model_config_file={model_config_file}",
                "--model_config_file_poll_wait_seconds=1",
                # When the server starts, no version is there yet that a label could go to.
                "--allow_version_labels_for_unavailable_models=true",
            ]

    def __enter__(self) -> ServerProcess:
        port = free_port() if self._port is None else self._port
        self._address = f"127.0.0.1:{port}"
        flags = [f"--port={port}", *self._model_flags]
        command = ending_with_us("-m", "serving", *flags, by=signal.SIGTERM)
        # A model that cannot be loaded ends the process at once.
        command += ["--max_num_load_retries=0"]
        # The server's package lies beside this one, whether installed or not.
        beside = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [beside, os.environ.get("PYTHONPATH")]))
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        self._channel = grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def address(self) -> str:
        """`host:port` of the server's gRPC port."""
        return self._address

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def wait_until_available(self, timeout_seconds: float) -> float:
        """Waits until every version is AVAILABLE; an open port is not enough.

        Returns:
            The seconds since the call.

        Raises:
            ServingError: The process ended, the model could not be loaded, or time is up.
        """
        started = time.monotonic()
        last = "the server did not answer"
        while time.monotonic() - started < timeout_seconds:
            code = self._process.poll()
            if code is not None:
                raise self._error(f"the server ended before it was ready, with exit code {code}")
            try:
                versions = self._status()
            except grpc.RpcError as error:
                last = f"{error.code().name}: {error.details()}"
            else:
                states = [_State.Name(version.state) for version in versions]
                last = f"model states {states or 'none'}"
                if states and set(states) == {"AVAILABLE"}:
                    return time.monotonic() - started
                for version in versions:
                    if version.state == _State.END:
                        raise self._error(
                            f"the server could not load the model: {version.status.error_message}"
                        )
            time.sleep(_POLL_SECONDS)
        raise self._error(f"the server was not ready after {timeout_seconds:g} s; last: {last}")

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Sends one request.

        Raises:
            ServingError: The server answered with an error, or not in time.
        """
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        try:
            return stub.Predict(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._error(
                f"Predict failed with {error.code().name}: {error.details()}"
            ) from error

    def _status(self) -> Any:
        stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        request = get_model_status_pb2.GetModelStatusRequest(
            model_spec=model_pb2.ModelSpec(name=self._model_name)
        )
        return stub.GetModelStatus(request, timeout=_CALL_SECONDS).model_version_status

    def _error(self, what: str) -> ServingError:
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        # A server that gives up says why; TensorFlow's own lines may follow.
        reasons = [line for line in lines if line.startswith("Failed to start server")]
        because = f": {reasons[-1]}" if reasons else ""
        tail = "\n".join(lines[-_LOG_TAIL_LINES:]) or "(empty)"
        return ServingError(f"{what}{because}\nthe server's log ends with:\n{tail}")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
