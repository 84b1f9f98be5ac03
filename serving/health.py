"""The standard gRPC health service, without the package that carries its generated code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from serving.declared_protos import declare

SERVICE = "grpc.health.v1.Health"
_CLASSES = declare(
    "grpc.health.v1",
    {
        "HealthCheckRequest": [("service", 1, "string")],
        # An enum in the published proto; the wire form of an enum is that of an int32.
        "HealthCheckResponse": [("status", 1, "int32")],
    },
    "easq/serving/health.proto",
)
HealthCheckRequest = _CLASSES["HealthCheckRequest"]
HealthCheckResponse = _CLASSES["HealthCheckResponse"]
SERVING = 1
NOT_SERVING = 2
SERVICE_UNKNOWN = 3

_WATCH_SECONDS = 0.5


def health_handler(status: Callable[[str], int]) -> grpc.GenericRpcHandler:
    """Check and Watch.

    Args:
        status: `SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN` of a service name, "" being the
            whole server.
    """

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        found = status(request.service)
        if found == SERVICE_UNKNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return HealthCheckResponse(status=found)

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        ended = threading.Event()
        context.add_callback(ended.set)
        last = None
        while not ended.is_set():
            found = status(request.service)
            if found != last:
                last = found
                yield HealthCheckResponse(status=found)
            if found == NOT_SERVING:
                return
            ended.wait(_WATCH_SECONDS)

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Check": grpc.unary_unary_rpc_method_handler(
                check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
            ),
        },
    )
