"""TLS and mutual TLS, with real certificates made in the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.client import RankingClient
from serving.errors import ServingError
from serving.text_protos import SSLConfig
from tests.serving.authority import Authority
from tests.serving.conftest import Running, make_predict_request

ONE = np.float32([[2.0]])


def predict(channel: grpc.Channel) -> list[float]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(make_predict_request("default", x=ONE), timeout=10)
    return list(response.outputs["y"].float_val)


def write_ssl_config(path: Path, **fields: Any) -> str:
    path.write_text(str(SSLConfig(**fields)))
    return str(path)


def test_tls(start_server: Callable[..., Running], saved_models: Path, tmp_path: Path) -> None:
    authority = Authority()
    key, certificate = authority.issue()
    config = write_ssl_config(
        tmp_path / "ssl.config", server_key=key.decode(), server_cert=certificate.decode()
    )
    running = start_server(model_base_path=f"{saved_models}/half", ssl_config_file=config)
    address = f"localhost:{running.server.grpc_port}"
    trusted = grpc.ssl_channel_credentials(authority.certificate)
    with grpc.secure_channel(address, trusted) as channel:
        assert predict(channel) == [3.0]
    other = grpc.ssl_channel_credentials(Authority().certificate)
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, other)):
        with pytest.raises(grpc.RpcError) as caught:
            predict(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        channel.close()
    with (
        RankingClient(address, model="default", credentials=trusted, deadline_seconds=10) as client,
        pytest.raises(ValueError, match="ranks no slates"),
    ):
        client.rank({"item_id": ["a"]})


def test_mutual_tls(mutual: str, authority: Authority) -> None:
    key, certificate = authority.issue()
    known = grpc.ssl_channel_credentials(authority.certificate, key, certificate)
    with grpc.secure_channel(mutual, known) as channel:
        assert predict(channel) == [3.0]
    refused(mutual, grpc.ssl_channel_credentials(authority.certificate))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_keys: "x"', "Invalid protobuf file: .*server_keys"),
        ('server_key: "x"', "server_key and server_cert must both be given"),
        ('server_key: "x" server_cert: "y" client_verify: true', "needs the clients' custom_ca"),
    ],
)
def test_a_wrong_ssl_config_is_refused(
    start_server: Callable[..., Running],
    saved_models: Path,
    tmp_path: Path,
    text: str,
    message: str,
) -> None:
    (tmp_path / "ssl.config").write_text(text)
    with pytest.raises(ServingError, match=message):
        start_server(
            model_base_path=f"{saved_models}/half", ssl_config_file=f"{tmp_path}/ssl.config"
        )


def refused(address: str, credentials: grpc.ChannelCredentials) -> None:
    with (
        grpc.secure_channel(address, credentials) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        predict(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def mutual(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path, authority: Authority
) -> str:
    """The address of a server that asks for certificates of `authority`."""
    key, certificate = authority.issue()
    config = write_ssl_config(
        tmp_path / "ssl.config",
        server_key=key.decode(),
        server_cert=certificate.decode(),
        custom_ca=authority.certificate.decode(),
        client_verify=True,
    )
    running = start_server(model_base_path=f"{saved_models}/half", ssl_config_file=config)
    return f"localhost:{running.server.grpc_port}"


def test_clients_of_another_authority_or_of_another_time_are_refused(
    mutual: str, authority: Authority
) -> None:
    ca = authority.certificate
    key, certificate = authority.issue()
    refused(mutual, grpc.ssl_channel_credentials(ca, *Authority().issue()))
    refused(mutual, grpc.ssl_channel_credentials(ca, *authority.issue(days=(-2, -1))))
    refused(mutual, grpc.ssl_channel_credentials(ca, *authority.issue(days=(1, 2))))
    # A certificate without its own key is nobody's.
    other_key, _ = authority.issue()
    refused(mutual, grpc.ssl_channel_credentials(ca, other_key, certificate))
    # The server goes on.
    known = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(mutual, known) as channel:
        assert predict(channel) == [3.0]


@pytest.mark.parametrize(
    "issued",
    [{"days": (-2, -1)}, {"days": (1, 2)}, {"host": "elsewhere"}],
    ids=["expired", "not valid yet", "of another host"],
)
def test_clients_refuse_a_server_with_a_wrong_certificate(
    start_server: Callable[..., Running],
    saved_models: Path,
    tmp_path: Path,
    authority: Authority,
    issued: dict[str, Any],
) -> None:
    key, certificate = authority.issue(**issued)
    config = write_ssl_config(
        tmp_path / "ssl.config", server_key=key.decode(), server_cert=certificate.decode()
    )
    running = start_server(model_base_path=f"{saved_models}/half", ssl_config_file=config)
    address = f"localhost:{running.server.grpc_port}"
    refused(address, grpc.ssl_channel_credentials(authority.certificate))
