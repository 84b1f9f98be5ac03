"""The one error that travels through the server: a canonical status code and a message.

Messages are the ones TensorFlow Serving sends, so that clients, dashboards and runbooks written
for it keep working.
"""

from __future__ import annotations

from typing import NoReturn

import grpc


class ServingError(Exception):
    """A request or a load that failed.

    Attributes:
        code: the canonical status code, as gRPC sends it and as REST maps it to an HTTP status.
        message: the text the client reads.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def invalid(message: str) -> ServingError:
    """An INVALID_ARGUMENT error: the request itself is wrong."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """A NOT_FOUND error: the model, version or file asked for is not there."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """A FAILED_PRECONDITION error: the request does not fit the model or state it meets."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def raise_as_serving_error(error: Exception) -> NoReturn:
    """Raise what TensorFlow or Python threw while loading or running as a `ServingError`."""
    if isinstance(error, ServingError):
        raise error
    code = getattr(error, "error_code", None)
    if isinstance(code, int):
        message = str(getattr(error, "message", error))
        raise ServingError(_CODES.get(code, grpc.StatusCode.UNKNOWN), message) from error
    if isinstance(error, FileNotFoundError):
        raise not_found(str(error)) from error
    if isinstance(error, PermissionError):
        raise ServingError(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
    if isinstance(error, (ValueError, TypeError)):
        raise invalid(str(error)) from error
    raise ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}") from error
