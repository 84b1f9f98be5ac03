"""The RPCs of the server as functions of bytes, for whatever transport carries them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from serving.errors import ServingError

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

IsActive = Callable[[], bool]

_TOO_LATE = (grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed in the queue")


@dataclass(frozen=True)
class Method:
    """One RPC.

    Attributes:
        answer: the response to a serialised request; the second argument tells whether the client
            still waits. Raises `ServingError`.
        slow: it waits for something else than the processor, and looks whether the client does.
        watch: the RPC streams: `answer` gives the first message at once, and this the last one,
            when the server stops.
        together: where given, answers requests that came in together, each with what `answer`
            would return or raise.
    """

    answer: Callable[[bytes, IsActive], bytes]
    slow: bool = False
    watch: Callable[[], bytes] | None = None
    together: Callable[[Sequence[bytes]], list[bytes | Exception]] | None = None


def run(
    method: Method, data: bytes, is_active: IsActive, remaining_seconds: float | None
) -> bytes | tuple[grpc.StatusCode, str]:
    """Answer a request, or tell the status and message to end it with.

    Nothing is kept of an exception: its frames hold the request.

    Args:
        method: the RPC.
        data: the serialised request.
        is_active: whether the client still waits.
        remaining_seconds: until the client's deadline, None without one. A request whose deadline
            has passed is not run.
    """
    if remaining_seconds is not None and remaining_seconds <= 0:
        return _TOO_LATE
    try:
        return method.answer(data, is_active)
    except Exception as error:
        return _status_of(error)


def run_together(
    method: Method, requests: Sequence[tuple[bytes, float]]
) -> list[bytes | tuple[grpc.StatusCode, str]]:
    """Answer requests that came in together, each as `run` would.

    Args:
        method: an RPC with `together`.
        requests: of each its bytes and the seconds until its deadline.
    """
    assert method.together is not None
    in_time = [data for data, remaining_seconds in requests if remaining_seconds > 0]
    try:
        answers = iter(method.together(in_time))
    except Exception as error:
        answers = iter([error] * len(in_time))
    return [
        _answer_or_status(next(answers)) if remaining_seconds > 0 else _TOO_LATE
        for _, remaining_seconds in requests
    ]


def _answer_or_status(answer: bytes | Exception) -> bytes | tuple[grpc.StatusCode, str]:
    return _status_of(answer) if isinstance(answer, Exception) else answer


def _status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, ServingError):
        return error.code, error.message
    log.error("A request failed unexpectedly", exc_info=error)
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"


def parsed(kind: Any, answer: Callable[[Any, IsActive], Any]) -> Callable[[bytes, IsActive], bytes]:
    """`answer` on messages as a function of bytes; bytes that are no message are INTERNAL."""

    def answer_bytes(data: bytes, is_active: IsActive) -> bytes:
        return bytes(answer(_message(kind, data), is_active).SerializeToString())

    return answer_bytes


def parsed_together(
    kind: Any, answer: Callable[[Sequence[Any]], list[Any]]
) -> Callable[[Sequence[bytes]], list[bytes | Exception]]:
    """The same for requests that came in together."""

    def answer_bytes(requests: Sequence[bytes]) -> list[bytes | Exception]:
        results: list[Any] = []
        for data in requests:
            try:
                results.append(_message(kind, data))
            except ServingError as error:
                results.append(error)
        places = [at for at, one in enumerate(results) if not isinstance(one, Exception)]
        answers = answer([results[place] for place in places])
        for place, one in zip(places, answers, strict=True):
            results[place] = one if isinstance(one, Exception) else one.SerializeToString()
        return results

    return answer_bytes


def _message(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ServingError(
            grpc.StatusCode.INTERNAL, f"Not a {kind.DESCRIPTOR.full_name}"
        ) from error


def server_methods(core: ServerCore) -> Mapping[str, Method]:
    """PredictionService and ModelService, by RPC path."""
    inferences = {
        "Predict": (predict_pb2.PredictRequest, core.predict),
        "Classify": (classification_pb2.ClassificationRequest, core.classify),
        "Regress": (regression_pb2.RegressionRequest, core.regress),
        "MultiInference": (inference_pb2.MultiInferenceRequest, core.multi_inference),
    }
    methods = {
        f"/{PREDICTION_SERVICE}/{name}": Method(parsed(kind, _inference(infer)))
        for name, (kind, infer) in inferences.items()
    }
    path = f"/{PREDICTION_SERVICE}/Predict"
    answer = parsed_together(
        predict_pb2.PredictRequest, lambda requests: core.predict_together(requests, "GRPC")
    )
    methods[path] = dataclasses.replace(methods[path], together=answer)
    methods[f"/{PREDICTION_SERVICE}/GetModelMetadata"] = Method(
        parsed(
            get_model_metadata_pb2.GetModelMetadataRequest,
            lambda request, is_active: core.model_metadata(request),
        )
    )
    methods[f"/{MODEL_SERVICE}/GetModelStatus"] = Method(
        parsed(
            get_model_status_pb2.GetModelStatusRequest,
            lambda request, is_active: core.model_status(request),
        )
    )
    methods[f"/{MODEL_SERVICE}/HandleReloadConfigRequest"] = Method(
        parsed(model_management_pb2.ReloadConfigRequest, core.reload_config), slow=True
    )
    return methods


def _inference(infer: Callable[[Any, str], Any]) -> Callable[[Any, IsActive], Any]:
    return lambda request, is_active: infer(request, "GRPC")
