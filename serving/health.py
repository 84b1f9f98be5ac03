"""The standard gRPC health service, without the package that carries its generated code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serving.declared_protos import declare
from serving.errors import not_found
from serving.rpc_methods import IsActive, Method, parsed

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


def health_methods(status: Callable[[str], int]) -> Mapping[str, Method]:
    """Check and Watch, by RPC path.

    Args:
        status: `SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN` of a service name, "" being the
            whole server. It changes only when the server stops.
    """

    def check(request: Any, is_active: IsActive) -> Any:
        found = status(request.service)
        if found == SERVICE_UNKNOWN:
            raise not_found(f"unknown service {request.service!r}")
        return HealthCheckResponse(status=found)

    def watch(request: Any, is_active: IsActive) -> Any:
        return HealthCheckResponse(status=status(request.service))

    return {
        f"/{SERVICE}/Check": Method(parsed(HealthCheckRequest, check)),
        f"/{SERVICE}/Watch": Method(
            parsed(HealthCheckRequest, watch),
            watch=lambda: bytes(HealthCheckResponse(status=NOT_SERVING).SerializeToString()),
        ),
    }
