"""Models made once a session, and servers on loopback in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import tensors
from serving.options import ServerOptions
from serving.server import ModelServer
from tests.serving.saved_models import save_half_plus_two, save_slate_model

tf.get_logger().setLevel("ERROR")


@dataclasses.dataclass
class Running:
    """A started server and stubs connected to it."""

    server: ModelServer

    def __post_init__(self) -> None:
        self.address = f"127.0.0.1:{self.server.grpc_port}"
        self.rest_port = self.server.options.rest_api_port
        self.channel = grpc.insecure_channel(
            self.address, [("grpc.max_receive_message_length", -1)]
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_predict_request(
    model: str = "slates",
    signature: str = "",
    version: int | None = None,
    label: str = "",
    outputs: tuple[str, ...] = (),
    **inputs: Any,
) -> Any:
    """A PredictRequest of numpy-able inputs."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    request.output_filter.extend(outputs)
    for name, value in inputs.items():
        tensors.fill_proto(request.inputs[name], value, as_content=True)
    return request


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of version folders: half/123 (TF1), slates/1 and slates/2 (TF2; weights 1, 2)."""
    root = tmp_path_factory.mktemp("saved_models")
    save_half_plus_two(root / "half" / "123")
    save_slate_model(root / "slates" / "1", weight=1.0)
    save_slate_model(root / "slates" / "2", weight=2.0)
    return root


@contextlib.contextmanager
def servers() -> Iterator[Callable[..., Running]]:
    """Starts servers on free ports, with short waits unless told otherwise; stops them all."""
    started: list[ModelServer] = []

    def start(**settings: Any) -> Running:
        defaults = {"port": 0, "load_retry_interval_micros": 100_000, "max_num_load_retries": 1}
        server = ModelServer(ServerOptions(**{**defaults, **settings}))
        started.append(server)
        server.start()
        return Running(server)

    try:
        yield start
    finally:
        for server in started:
            server.stop()


@pytest.fixture
def start_server() -> Iterator[Callable[..., Running]]:
    """Starts servers for one test."""
    with servers() as start:
        yield start


@pytest.fixture(scope="session")
def models_config(saved_models: Path) -> Path:
    """A configuration of both models: all versions of slates, labels stable (1) and canary (2)."""
    path = saved_models / "models.config"
    path.write_text(
        f"""
model_config_list {{
  config {{
    name: "half" base_path: "{saved_models / "half"}" model_platform: "tensorflow"
  }}
  config {{
    name: "slates" base_path: "{saved_models / "slates"}" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""
    )
    return path


@pytest.fixture(scope="session")
def running(models_config: Path) -> Iterator[Running]:
    """The server most tests ask: half (TF1) and slates, versions 1 and 2, with labels."""
    monitoring = models_config.parent / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    with servers() as start:
        yield start(
            model_config_file=os.fspath(models_config),
            allow_version_labels_for_unavailable_models=True,
            enable_grpc_healthcheck_service=True,
            rest_api_port=free_port(),
            monitoring_config_file=os.fspath(monitoring),
            file_system_poll_wait_seconds=0,
        )


@pytest.fixture
def base_path(saved_models: Path, tmp_path: Path) -> Path:
    """A model folder of a test's own, with version 1 of the slate model in it."""
    shutil.copytree(saved_models / "slates" / "1", tmp_path / "model" / "1")
    return tmp_path / "model"
