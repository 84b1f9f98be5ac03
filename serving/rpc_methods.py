"""The RPCs of the server as functions of bytes, for whatever transport carries them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Method:
    """One RPC.

    Attributes:
        answer: the response to a serialised request; the second argument tells whether the client
            still waits. Raises `ServingError`.
        slow: it waits for something else than the processor, and looks whether the client does.
        watch: the RPC streams: `answer` gives the first message at once, and this the last one,
            when the server stops.
    """

    answer: Callable[[bytes, IsActive], bytes]
    slow: bool = False
    watch: Callable[[], bytes] | None = None


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
        return grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed in the queue"
    try:
        return method.answer(data, is_active)
    except ServingError as error:
        return error.code, error.message
    except Exception as error:
        log.exception("A request failed unexpectedly")
        return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"


def parsed(kind: Any, answer: Callable[[Any, IsActive], Any]) -> Callable[[bytes, IsActive], bytes]:
    """`answer` on messages as a function of bytes; bytes that are no message are INTERNAL."""

    def answer_bytes(data: bytes, is_active: IsActive) -> bytes:
        try:
            request = kind.FromString(data)
        except DecodeError as error:
            raise ServingError(
                grpc.StatusCode.INTERNAL, f"Not a {kind.DESCRIPTOR.full_name}"
            ) from error
        return bytes(answer(request, is_active).SerializeToString())

    return answer_bytes


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
