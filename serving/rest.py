"""The REST API: paths and bodies to calls of the server's core, errors to HTTP statuses."""

from __future__ import annotations

import logging
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import json_requests, json_responses
from serving.core import SIGNATURE_DEF, ServerCore
from serving.errors import ServingError, invalid
from serving.inference import DEFAULT_SIGNATURE
from serving.json_writer import error_document

log = logging.getLogger(__name__)

_CHOICE = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFER_PATH = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_CHOICE}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_READ_PATH = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE
)

_HTTP_STATUSES = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Response:
    """An HTTP response, without its connection's headers."""

    status: int
    body: bytes
    content_type: str = "application/json"


class RestApi:
    """Answers HTTP requests.

    Args:
        core: the server's APIs.
        metrics_path: path of the metrics page, or None for no such page.
    """

    def __init__(self, core: ServerCore, metrics_path: str | None) -> None:
        self._core = core
        self._metrics_path = metrics_path

    def respond(self, method: str, path: str, body: bytes) -> Response:
        """Answer one request; nothing it holds makes this raise.

        Args:
            method: the HTTP method.
            path: the path of the target, without query.
            body: the whole body.
        """
        if self._metrics_path is not None and path == self._metrics_path and method == "GET":
            return Response(200, self._core.metrics.page().encode(), "text/plain")
        if not path.lower().startswith("/v1/"):
            return Response(404, b"Not Found\n", "text/plain")
        try:
            return Response(200, self._call(method, path, body))
        except ServingError as error:
            status = _HTTP_STATUSES.get(error.code, 500)
            return Response(status, error_document(error.message))
        except Exception as error:
            log.exception("A REST request failed unexpectedly")
            return Response(500, error_document(f"{type(error).__name__}: {error}"))

    def _call(self, method: str, path: str, body: bytes) -> bytes:
        match = None
        if method == "POST":
            match = _INFER_PATH.fullmatch(path)
        elif method == "GET":
            match = _READ_PATH.fullmatch(path)
        if match is None:
            raise invalid(f"Malformed request: {method} {path}")
        found = match.groupdict()
        if not found["model"]:
            raise invalid("Missing model name in request.")
        if method == "POST":
            call = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }.get(found["method"])
            if call is None:
                raise invalid(f"Malformed request: {method} {path}")
            return call(found, body)
        return self._metadata(found) if found["metadata"] else self._status(found)

    def _predict(self, found: Mapping[str, Any], body: bytes) -> bytes:
        request = predict_pb2.PredictRequest()
        _fill_spec(request.model_spec, found)

        def inputs_of(name: str) -> Mapping[str, Any]:
            name = name or DEFAULT_SIGNATURE
            with self._core.manager.acquire(request.model_spec) as servable:
                if name not in servable.signatures:
                    raise invalid(f'Serving signature name: "{name}" not found in signature def')
                inputs: Mapping[str, Any] = servable.signatures[name].proto.inputs
                return dict(inputs)

        by_rows = json_requests.fill_predict(body, request, inputs_of)
        response = self._core.predict(request, "REST")
        return json_responses.predictions(response.outputs, by_rows=by_rows)

    def _classify(self, found: Mapping[str, Any], body: bytes) -> bytes:
        request = classification_pb2.ClassificationRequest()
        _fill_spec(request.model_spec, found)
        json_requests.fill_examples(body, request)
        return json_responses.classifications(self._core.classify(request, "REST").result)

    def _regress(self, found: Mapping[str, Any], body: bytes) -> bytes:
        request = regression_pb2.RegressionRequest()
        _fill_spec(request.model_spec, found)
        json_requests.fill_examples(body, request)
        return json_responses.regressions(self._core.regress(request, "REST").result)

    def _status(self, found: Mapping[str, Any]) -> bytes:
        request = get_model_status_pb2.GetModelStatusRequest()
        _fill_spec(request.model_spec, found)
        return json_responses.model_status(self._core.model_status(request))

    def _metadata(self, found: Mapping[str, Any]) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF])
        _fill_spec(request.model_spec, found)
        return json_responses.model_metadata(self._core.model_metadata(request))


def _fill_spec(spec: Any, found: Mapping[str, Any]) -> None:
    spec.name = urllib.parse.unquote(found["model"], errors="replace")
    if found["version"]:
        version = int(found["version"]) if len(found["version"]) < 20 else _LARGEST_VERSION + 1
        if version > _LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = version
    if found["label"]:
        spec.version_label = urllib.parse.unquote(found["label"], errors="replace")
