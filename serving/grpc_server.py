"""The gRPC transport: PredictionService, ModelService and health."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.core import ServerCore
from serving.errors import ServingError, invalid
from serving.health import NOT_SERVING, SERVICE, SERVICE_UNKNOWN, SERVING, health_handler
from serving.text_protos import SSLConfig, parse_text_file

log = logging.getLogger(__name__)

# TensorFlow Serving's limit: the largest message gRPC can carry.
_MAX_MESSAGE_BYTES = 2**31 - 1


class GrpcServer:
    """The gRPC ports of a server.

    Args:
        core: answers the requests.

    Raises:
        ServingError: a port or socket cannot be opened, or the TLS or channel settings are wrong.
    """

    def __init__(self, core: ServerCore) -> None:
        options = core.options
        self._stopping = False
        self._server = grpc.server(
            ThreadPoolExecutor(options.grpc_threads, "grpc"),
            options=_channel_options(options.grpc_channel_arguments),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(core), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        if options.enable_grpc_healthcheck_service:
            self._server.add_generic_rpc_handlers((health_handler(self._health),))
        credentials = _credentials(options.ssl_config_file)
        self.port = self._open(f"{options.bind_address}:{options.port}", credentials)
        if options.grpc_socket_path:
            self._open(f"unix:{os.path.abspath(options.grpc_socket_path)}", credentials)

    def _open(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                f"{address} cannot be opened: it is in use or not allowed here",
            ) from error
        log.info("Running gRPC ModelServer at %s ...", address)
        return port

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new requests, and give those under way some time to finish."""
        self._stopping = True
        self._server.stop(grace_seconds).wait()

    def _health(self, service: str) -> int:
        services = (
            "",
            SERVICE,
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
        )
        if service not in services:
            return SERVICE_UNKNOWN
        return NOT_SERVING if self._stopping else SERVING


def _channel_options(arguments: str) -> list[tuple[str, Any]]:
    options: dict[str, Any] = {
        "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
        # Two servers on one port would share its requests without a word.
        "grpc.so_reuseport": 0,
    }
    for argument in filter(None, arguments.split(",")):
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise invalid(f"--grpc_channel_arguments: {argument!r} is not key=value")
        try:
            options[key] = int(value)
        except ValueError:
            options[key] = value
    return list(options.items())


def _credentials(ssl_config_file: str) -> grpc.ServerCredentials | None:
    if not ssl_config_file:
        return None
    config = parse_text_file(ssl_config_file, SSLConfig())
    if not config.server_key or not config.server_cert:
        raise invalid(f"{ssl_config_file}: server_key and server_cert must both be given")
    if config.client_verify and not config.custom_ca:
        raise invalid(f"{ssl_config_file}: client_verify needs the clients' custom_ca")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _answer(context: grpc.ServicerContext, call: Callable[[], Any]) -> Any:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed in the queue")
    try:
        return call()
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception as error:
        log.exception("A request failed unexpectedly")
        context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.predict(request, "GRPC"))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.classify(request, "GRPC"))

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.regress(request, "GRPC"))

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.multi_inference(request, "GRPC"))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.model_metadata(request))


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.model_status(request))

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(context, lambda: self._core.reload_config(request, context.is_active))
