"""Answers RPCs in the threads that take them off gRPC's completion queue.

`grpc.server` hands every request from its one polling thread to a pool and back, three wake-ups
a request, which for a small model costs more than the model. Here each thread takes an event and
acts on it to the end: half the CPU time a request, and twice the requests a second.

It drives the same core server through the part of grpcio that `grpc.server` itself is written on,
which is not public; where a release of grpcio has none of it, `GrpcServer` uses `grpc.server`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.rpc_methods import Method, run

try:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]
except ImportError:
    cygrpc = None

log = logging.getLogger(__name__)

# New calls the core may hand over before a thread comes to ask for more.
_REQUESTED_CALLS = 64
# How soon an idle thread sees that the server has ended.
_POLL_SECONDS = 1.0
# Calls that wait for something else than the processor, at a time.
_SLOW_CALLS = 4
# The flags of an operation: none.
_NONE = 0

# Beyond so many calls that no thread has taken up, new ones are refused; grpc.server has no limit.
CHANNEL_OPTIONS = {
    "grpc.server.max_pending_requests": 1 << 20,
    "grpc.server.max_pending_requests_hard_limit": 1 << 20,
}


def is_available(server: grpc.Server) -> bool:
    """Whether this grpcio has what `CompletionLoop` needs."""
    state = getattr(server, "_state", None)
    return all(hasattr(state, name) for name in ("server", "completion_queue")) and all(
        hasattr(cygrpc, name)
        for name in (
            "ReceiveCloseOnServerOperation",
            "ReceiveMessageOperation",
            "SendInitialMetadataOperation",
            "SendMessageOperation",
            "SendStatusFromServerOperation",
        )
    )


class CompletionLoop:
    """Runs a server that `grpc.server` made and that was not started.

    Args:
        server: the server, its ports opened.
        methods: what answers, by RPC path.
        threads: how many requests are answered at a time.
    """

    def __init__(self, server: Any, methods: Mapping[str, Method], threads: int) -> None:
        self.methods = {path.encode(): method for path, method in methods.items()}
        self.slow = ThreadPoolExecutor(_SLOW_CALLS, "slow grpc")
        # Calls that stream until the server stops, see `Method.watch`.
        self.watching: set[_Call] = set()
        self._core = server._state.server
        self._queue = server._state.completion_queue
        self._threads = threads
        self._stopping = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to answer."""
        self._core.start()
        for _ in range(_REQUESTED_CALLS):
            self._request_call()
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"grpc {number}", daemon=True).start()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, and give those under way some time to finish."""
        self._stopping = True
        self._core.shutdown(self._queue, self._has_ended)
        for call in list(self.watching):
            call.end_watch()
        if not self._ended.wait(grace_seconds):
            self._core.cancel_all_calls()
            self._ended.wait(_POLL_SECONDS)
        self.slow.shutdown(wait=False)

    def _request_call(self) -> None:
        try:
            self._core.request_call(self._queue, self._queue, self._begin)
        except ValueError:
            if not self._stopping:
                raise

    def _serve(self) -> None:
        while not self._ended.is_set():
            event = self._queue.poll(time.time() + _POLL_SECONDS)
            try:
                if event.tag is not None:
                    event.tag(event)
            except Exception:
                log.exception("A gRPC call failed unexpectedly")
            # An event kept while waiting for the next would keep its call alive.
            del event

    def _begin(self, event: Any) -> None:
        if not self._stopping:
            self._request_call()
        if event.success:
            _Call(self, event).begin()

    def _has_ended(self, event: Any) -> None:
        self._ended.set()


class _Call:
    """One RPC: its methods are the tags under which its operations complete."""

    __slots__ = ("_call", "_cancelled", "_deadline", "_loop", "_method")

    def __init__(self, loop: CompletionLoop, event: Any) -> None:
        self._loop = loop
        self._call = event.call
        self._deadline = event.call_details.deadline
        self._method = loop.methods.get(event.call_details.method)
        self._cancelled = False

    def begin(self) -> None:
        if self._method is None:
            self._send_status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            return
        if self._method.slow or self._method.watch:
            # Only these outlive a client that goes away; for the others it would be one event more.
            self._start(self._closed, cygrpc.ReceiveCloseOnServerOperation(_NONE))
        self._start(self._received, cygrpc.ReceiveMessageOperation(_NONE))

    def _received(self, event: Any) -> None:
        method = self._method
        assert method is not None
        data = event.batch_operations[0].message()
        if data is None:
            self._send_status(grpc.StatusCode.UNIMPLEMENTED, "Exactly one request is required")
        elif method.slow:
            self._loop.slow.submit(self._answer, data)
        else:
            self._answer(data)

    def _answer(self, data: bytes) -> None:
        method = self._method
        assert method is not None
        answer = run(method, data, self._is_active, self._deadline - time.time())
        if not isinstance(answer, bytes):
            self._send_status(*answer)
        elif method.watch:
            self._loop.watching.add(self)
            self._start(
                _nothing,
                cygrpc.SendInitialMetadataOperation((), _NONE),
                cygrpc.SendMessageOperation(answer, _NONE),
            )
        else:
            self._finish(
                cygrpc.SendInitialMetadataOperation((), _NONE),
                cygrpc.SendMessageOperation(answer, _NONE),
                cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", _NONE),
            )

    def end_watch(self) -> None:
        """Send the last message of a stream, and its end."""
        assert self._method is not None
        assert self._method.watch is not None
        self._loop.watching.discard(self)
        self._finish(
            cygrpc.SendMessageOperation(self._method.watch(), _NONE),
            cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", _NONE),
        )

    def _send_status(self, code: grpc.StatusCode, message: str) -> None:
        self._finish(
            cygrpc.SendInitialMetadataOperation((), _NONE),
            cygrpc.SendStatusFromServerOperation((), code.value[0], message.encode(), _NONE),
        )

    def _finish(self, *operations: Any) -> None:
        if self._method is None or not (self._method.slow or self._method.watch):
            operations = (*operations, cygrpc.ReceiveCloseOnServerOperation(_NONE))
        self._start(_nothing, *operations)

    def _start(self, then: Callable[[Any], None], *operations: Any) -> None:
        self._call.start_server_batch(operations, then)

    def _closed(self, event: Any) -> None:
        self._cancelled = event.batch_operations[0].cancelled()
        if self._cancelled:
            self._loop.watching.discard(self)

    def _is_active(self) -> bool:
        return not self._cancelled


def _nothing(event: Any) -> None:
    """What follows the last operation of a call."""
