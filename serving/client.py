"""Ranks slates on a model server: this project's or TensorFlow Serving.

    with RankingClient("127.0.0.1:8500", model="easq") as client:
        ranking = client.rank({"user_id": "u1", "item_id": ["a", "b", "c"]})
        for item, score in ranking.items: ...

User and request features are given once, candidates as lists; the client needs no TensorFlow. Make
one client and keep it: it holds the connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from serving import wire
from serving.slates import SCORE, Ranking, SlateSignature, rankings

# A call that failed this way was not answered by a model and may be sent again.
_RETRIED = (grpc.StatusCode.UNAVAILABLE,)
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
]


def canary_label(user: str, percent: float) -> str:
    """The version label of a user's requests, while a share of the users gets a new version.

    The same user always gets the same label, and a larger share only adds users to the canary.

    Args:
        user: the user's id.
        percent: share of the users, 0 to 100, that is sent to the canary.

    Returns:
        "canary" or "stable".
    """
    digest = hashlib.blake2b(user.encode(), digest_size=8).digest()
    return "canary" if int.from_bytes(digest, "big") % 10_000 < percent * 100 else "stable"


class RankingError(Exception):
    """The server refused a request or could not be reached in time.

    Attributes:
        code: the gRPC status code.
        message: the server's text.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class _Client:
    """What the sync and the async client share: settings, requests, waits between tries."""

    def __init__(
        self,
        address: str,
        *,
        model: str = "easq",
        version: int | None = None,
        label: str | None = None,
        signature: str = "serving_default",
        deadline_seconds: float = 1.0,
        defaults: Mapping[str, Any] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Args:
            address: `host:port`, `unix:/path` or any other gRPC target.
            model: name of the served model.
            version: number of the version to ask; by default the newest one loaded.
            label: label of the version to ask, such as `stable`; not together with `version`.
            signature: name of a signature with an `item_id` input and a `score` output.
            deadline_seconds: time for a call, tries and waits included.
            defaults: values of features that slates leave out; others are "" or 0.
            credentials: for TLS, `grpc.ssl_channel_credentials(...)`; by default plain text.

        Raises:
            ValueError: both `version` and `label` are given, or the deadline is not positive.
        """
        if version is not None and label is not None:
            raise ValueError("give version or label, not both")
        if deadline_seconds <= 0:
            raise ValueError(f"deadline_seconds must be positive, found {deadline_seconds}")
        self._address = address
        self._credentials = credentials
        self._deadline_seconds = deadline_seconds
        self._signature_name = signature
        self._defaults = dict(defaults or {})
        self._signature: SlateSignature | None = None
        self._metadata_request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._predict_request = wire.PredictRequest(output_filter=[SCORE])
        for request in (self._metadata_request, self._predict_request):
            request.model_spec.name = model
            if version is not None:
                request.model_spec.version.value = version
            if label is not None:
                request.model_spec.version_label = label
        self._predict_request.model_spec.signature_name = signature

    def _learn(self, metadata: Any) -> SlateSignature:
        self._signature = SlateSignature(metadata, self._signature_name, self._defaults)
        return self._signature

    def _request(self, signature: SlateSignature, slates: Sequence[Any]) -> Any:
        request = wire.PredictRequest()
        request.CopyFrom(self._predict_request)
        return request, signature.fill_inputs(request, slates)


class RankingClient(_Client):
    """A client for threads; any number of them may share one."""

    def __init__(self, address: str, **settings: Any) -> None:
        super().__init__(address, **settings)
        if self._credentials is None:
            self._channel = grpc.insecure_channel(address, _CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, self._credentials, _CHANNEL_OPTIONS)
        self._predict = _method(self._channel, wire.PREDICT, wire.PredictResponse)
        self._metadata = _method(
            self._channel, wire.GET_MODEL_METADATA, wire.GetModelMetadataResponse
        )

    __init__.__doc__ = _Client.__init__.__doc__

    def rank(self, slate: Any) -> Ranking:
        """Rank one slate.

        Args:
            slate: feature → value for request and user features, feature → list for candidate
                features; or a DataFrame or Arrow table with one row a candidate. `item_id` is
                required.

        Raises:
            ValueError: the slate does not fit the model's signature.
            RankingError: the server refused, or did not answer before the deadline.
        """
        return self.rank_many([slate])[0]

    def rank_many(self, slates: Sequence[Any]) -> list[Ranking]:
        """Rank several slates in one request; they may differ in width.

        Raises:
            ValueError: a slate does not fit the model's signature.
            RankingError: the server refused, or did not answer before the deadline.
        """
        ends = time.monotonic() + self._deadline_seconds
        signature = self._signature or self._learn(
            self._call(self._metadata, self._metadata_request, ends)
        )
        request, items = self._request(signature, slates)
        return rankings(self._call(self._predict, request, ends), items)

    def _call(self, method: Callable[..., Any], request: Any, ends: float) -> Any:
        attempt = 0
        while True:
            try:
                return method(request, timeout=max(ends - time.monotonic(), 0.001))
            except grpc.RpcError as error:
                wait = _wait_before_retry(error, attempt, ends)
                if wait is None:
                    raise RankingError(error.code(), error.details() or "") from error
            time.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> RankingClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncRankingClient(_Client):
    """The same client for asyncio; make it inside the event loop that uses it."""

    def __init__(self, address: str, **settings: Any) -> None:
        super().__init__(address, **settings)
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(address, _CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, self._credentials, _CHANNEL_OPTIONS)
        self._predict = _method(self._channel, wire.PREDICT, wire.PredictResponse)
        self._metadata = _method(
            self._channel, wire.GET_MODEL_METADATA, wire.GetModelMetadataResponse
        )

    __init__.__doc__ = _Client.__init__.__doc__

    async def rank(self, slate: Any) -> Ranking:
        """As `RankingClient.rank`."""
        return (await self.rank_many([slate]))[0]

    async def rank_many(self, slates: Sequence[Any]) -> list[Ranking]:
        """As `RankingClient.rank_many`."""
        ends = time.monotonic() + self._deadline_seconds
        signature = self._signature or self._learn(
            await self._call(self._metadata, self._metadata_request, ends)
        )
        request, items = self._request(signature, slates)
        return rankings(await self._call(self._predict, request, ends), items)

    async def _call(self, method: Callable[..., Awaitable[Any]], request: Any, ends: float) -> Any:
        attempt = 0
        while True:
            try:
                return await method(request, timeout=max(ends - time.monotonic(), 0.001))
            except grpc.RpcError as error:
                wait = _wait_before_retry(error, attempt, ends)
                if wait is None:
                    raise RankingError(error.code(), error.details() or "") from error
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncRankingClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _method(channel: Any, path: str, response: Any) -> Any:
    return channel.unary_unary(
        path,
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=response.FromString,
    )


def _wait_before_retry(error: Any, attempt: int, ends: float) -> float | None:
    """Seconds to wait before the next try, or None where there is none."""
    if error.code() not in _RETRIED:
        return None
    wait = min(_FIRST_WAIT_SECONDS * 2**attempt, _LONGEST_WAIT_SECONDS)
    # Spread, so that clients of a server that comes back do not all come at once.
    wait *= random.uniform(0.5, 1.0)
    return wait if time.monotonic() + wait < ends else None
