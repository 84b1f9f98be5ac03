"""The gRPC transport: PredictionService, ModelService and health."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.core import ServerCore
from serving.errors import ServingError, invalid
from serving.health import NOT_SERVING, SERVICE, SERVICE_UNKNOWN, SERVING, health_handler
from serving.text_protos import SSLConfig, parse_text_file

log = logging.getLogger(__name__)

# TensorFlow Serving's limit: the largest message gRPC can carry.
_MAX_MESSAGE_BYTES = 2**31 - 1

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

_Method = Callable[[Any, grpc.ServicerContext], Any]


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
        self._server.add_generic_rpc_handlers((_prediction_service(core), _model_service(core)))
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
            PREDICTION_SERVICE,
            MODEL_SERVICE,
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
        code, message = error.code, error.message
    except Exception as error:
        log.exception("A request failed unexpectedly")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    # Outside of the handlers, so that the error's frames, with the request in them, are free.
    return context.abort(code, message)


def _handlers(service: str, methods: Mapping[str, tuple[Any, _Method]]) -> grpc.GenericRpcHandler:
    """A service, from request classes and methods that take (request, context).

    Not the generated registration: for every request that cannot be parsed, gRPC itself logs
    a traceback and keeps 16 KB for ever, with which one client could fill the disk and the memory.
    """

    def handler(kind: Any, method: _Method) -> grpc.RpcMethodHandler[Any, Any]:
        def parse(data: bytes) -> Any:
            try:
                return kind.FromString(data)
            except DecodeError as error:
                return error

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if isinstance(request, DecodeError):
                context.abort(grpc.StatusCode.INTERNAL, f"Not a {kind.DESCRIPTOR.full_name}")
            return _answer(context, lambda: method(request, context))

        return grpc.unary_unary_rpc_method_handler(
            answer, parse, lambda response: response.SerializeToString()
        )

    return grpc.method_handlers_generic_handler(
        service, {name: handler(kind, method) for name, (kind, method) in methods.items()}
    )


def _prediction_service(core: ServerCore) -> grpc.GenericRpcHandler:
    return _handlers(
        PREDICTION_SERVICE,
        {
            "Predict": (
                predict_pb2.PredictRequest,
                lambda request, context: core.predict(request, "GRPC"),
            ),
            "Classify": (
                classification_pb2.ClassificationRequest,
                lambda request, context: core.classify(request, "GRPC"),
            ),
            "Regress": (
                regression_pb2.RegressionRequest,
                lambda request, context: core.regress(request, "GRPC"),
            ),
            "MultiInference": (
                inference_pb2.MultiInferenceRequest,
                lambda request, context: core.multi_inference(request, "GRPC"),
            ),
            "GetModelMetadata": (
                get_model_metadata_pb2.GetModelMetadataRequest,
                lambda request, context: core.model_metadata(request),
            ),
        },
    )


def _model_service(core: ServerCore) -> grpc.GenericRpcHandler:
    return _handlers(
        MODEL_SERVICE,
        {
            "GetModelStatus": (
                get_model_status_pb2.GetModelStatusRequest,
                lambda request, context: core.model_status(request),
            ),
            "HandleReloadConfigRequest": (
                model_management_pb2.ReloadConfigRequest,
                lambda request, context: core.reload_config(request, context.is_active),
            ),
        },
    )
