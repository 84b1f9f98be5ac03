"""The gRPC transport: ports, TLS, and what answers on them."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving import grpc_loop, health
from serving.batching import BatchingSettings
from serving.core import ServerCore
from serving.errors import ServingError, invalid
from serving.rpc_methods import MODEL_SERVICE, PREDICTION_SERVICE, Method, run, server_methods
from serving.text_protos import SSLConfig, parse_text_file

log = logging.getLogger(__name__)

# TensorFlow Serving's limit: the largest message gRPC can carry.
_MAX_MESSAGE_BYTES = 2**31 - 1
# How soon a stream on `grpc.server` sees that the server stops.
_WATCH_SECONDS = 0.5


class GrpcServer:
    """The gRPC ports of a server.

    Args:
        core: answers the requests.
        batching: how they are batched, None where they are not.

    Raises:
        ServingError: a port or socket cannot be opened, or the TLS or channel settings are wrong.
    """

    def __init__(self, core: ServerCore, batching: BatchingSettings | None) -> None:
        options = core.options
        self._stopping = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(options.grpc_threads(wait=options.enable_batching), "grpc"),
            options=_channel_options(options.grpc_channel_arguments),
        )
        methods = dict(server_methods(core))
        if options.enable_grpc_healthcheck_service:
            methods.update(health.health_methods(self._health))
        self._loop = None
        if grpc_loop.is_available(self._server):
            # With a timeout each thread waits for company for its request: none takes in several.
            wait = batching is not None and batching.batch_timeout_micros > 0
            if wait:
                methods = {
                    path: dataclasses.replace(method, together=None)
                    for path, method in methods.items()
                }
            threads = options.grpc_threads(wait=wait)
            at_once = threads if wait else len(os.sched_getaffinity(0))
            self._loop = grpc_loop.CompletionLoop(
                self._server, methods, threads=threads, at_once=at_once
            )
        else:
            self._server.add_generic_rpc_handlers((_Handlers(methods, self._stopping),))
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
        (self._loop or self._server).start()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new requests, and give those under way some time to finish."""
        self._stopping.set()
        if self._loop is not None:
            self._loop.stop(grace_seconds)
        else:
            self._server.stop(grace_seconds).wait()

    def _health(self, service: str) -> int:
        if service not in ("", health.SERVICE, PREDICTION_SERVICE, MODEL_SERVICE):
            return health.SERVICE_UNKNOWN
        return health.NOT_SERVING if self._stopping.is_set() else health.SERVING


class _Handlers(grpc.GenericRpcHandler):
    """The RPCs for `grpc.server`'s own threads."""

    def __init__(self, methods: Mapping[str, Method], stopping: threading.Event) -> None:
        self._methods = methods
        self._stopping = stopping

    def service(self, details: Any) -> Any:
        """What answers a call, or None."""
        method = self._methods.get(details.method)
        if method is None:
            return None

        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            result = run(method, data, context.is_active, context.time_remaining())
            # Not within `run`: gRPC keeps the frames that an abort is raised from.
            return result if isinstance(result, bytes) else context.abort(*result)

        def watch(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            context.add_callback(ended.set)
            yield answer(data, context)
            while not ended.is_set():
                if self._stopping.wait(_WATCH_SECONDS) and method.watch is not None:
                    yield method.watch()
                    return

        ended = threading.Event()
        if method.watch is None:
            return grpc.unary_unary_rpc_method_handler(answer)
        return grpc.unary_stream_rpc_method_handler(watch)


def _channel_options(arguments: str) -> list[tuple[str, Any]]:
    options: dict[str, Any] = {
        "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
        # Two servers on one port would share its requests without a word.
        "grpc.so_reuseport": 0,
        **grpc_loop.CHANNEL_OPTIONS,
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
