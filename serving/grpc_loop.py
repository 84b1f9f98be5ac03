"""Answers RPCs in the threads that take them off gRPC's completion queue.

`grpc.server` hands every request from its one polling thread to a pool and back, three wake-ups
a request, which for a small model costs more than the model. Here each thread takes an event and
acts on it to the end: half the CPU time a request, and twice the requests a second. Where requests
come faster than they are answered, a thread takes in all that are there and answers them together,
which halves the CPU time again.

It drives the same core server through the part of grpcio that `grpc.server` itself is written on,
which is not public; where a release of grpcio has none of it, `GrpcServer` uses `grpc.server`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.rpc_methods import Method, run, run_together

try:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]
except ImportError:
    cygrpc = None

log = logging.getLogger(__name__)

# New calls the core may hand over before a thread comes to ask for more.
_REQUESTED_CALLS = 64
# How soon an idle thread sees that the server has ended.
_POLL_SECONDS = 1.0
# Requests that a thread takes in before it answers them together: so many, and no more than it
# answers in this time, so that none waits for long for the others.
_MOST_TOGETHER = 32
_TOGETHER_SECONDS = 4e-3
# A new call that was there so soon is not the only one.
_AT_ONCE_SECONDS = 50e-6
# Threads that are busy for so long with what they took in leave the rest to spare ones.
_LONG_SECONDS = 0.05
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
        at_once: how many of the threads take in requests; the others only while those are all
            busy with long ones. More than there are processors would take small requests from
            each other that are cheaper together.
    """

    def __init__(
        self, server: Any, methods: Mapping[str, Method], *, threads: int, at_once: int
    ) -> None:
        self.methods = {path.encode(): method for path, method in methods.items()}
        self.slow = ThreadPoolExecutor(_SLOW_CALLS, "slow grpc")
        # Calls that stream until the server stops, see `Method.watch`.
        self.watching: set[_Call] = set()
        self._core = server._state.server
        self._queue = server._state.completion_queue
        self._spare = max(threads - at_once, 0)
        # Since when each of the other threads is busy.
        self._busy_since = [math.inf] * min(threads, at_once)
        # Whether requests come faster than they are answered, and how many to answer together.
        self._crowded = False
        self._most_together = 1
        self._stopping = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to answer."""
        self._core.start()
        for _ in range(_REQUESTED_CALLS):
            self._request_call()
        for number in range(len(self._busy_since)):
            self._start_thread(self._serve, number)
        for _ in range(self._spare):
            self._start_thread(self._stand_by)

    def _start_thread(self, target: Callable[..., None], *arguments: int) -> None:
        threading.Thread(target=target, args=arguments, name="grpc", daemon=True).start()

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

    def _serve(self, number: int) -> None:
        while not self._ended.is_set():
            asked = time.time()
            event = self._queue.poll(asked + _POLL_SECONDS)
            if event.tag == self._begin:
                self._crowded = time.time() - asked < _AT_ONCE_SECONDS
            self._busy_since[number] = time.monotonic()
            self._act(event)
            # An event kept while waiting for the next would keep its call alive.
            del event
            self._busy_since[number] = math.inf

    def _stand_by(self) -> None:
        while not self._ended.wait(_LONG_SECONDS):
            # An idle thread is busy since the end of time.
            while time.monotonic() - max(self._busy_since) > _LONG_SECONDS:
                self._act(self._queue.poll(time.time() + _LONG_SECONDS))

    def _act(self, event: Any) -> None:
        """Act on an event, and if it is a request to be answered together with others, on those
        that are there."""
        taken: list[_Call] = []
        while event.tag is not None:
            try:
                call = event.tag(event)
                if call is not None:
                    taken.append(call)
            except Exception:
                log.exception("A gRPC call failed unexpectedly")
            if not taken:
                return
            if len(taken) >= self._most_together or not self._crowded:
                break
            event = self._queue.poll(0)
        if taken:
            started = time.monotonic()
            _answer_together(taken)
            seconds = (time.monotonic() - started) / len(taken)
            self._most_together = max(min(int(_TOGETHER_SECONDS / seconds), _MOST_TOGETHER), 1)

    def _begin(self, event: Any) -> None:
        if not self._stopping:
            self._request_call()
        if event.success:
            _Call(self, event).begin()

    def _has_ended(self, event: Any) -> None:
        self._ended.set()


class _Call:
    """One RPC: its methods are the tags under which its operations complete.

    A tag returns the call if it is to be answered together with others.
    """

    __slots__ = ("_call", "_cancelled", "_deadline", "_loop", "data", "method")

    def __init__(self, loop: CompletionLoop, event: Any) -> None:
        self._loop = loop
        self._call = event.call
        self._deadline = event.call_details.deadline
        self.method = loop.methods.get(event.call_details.method)
        self._cancelled = False
        # The request, of a call that is answered together with others.
        self.data = b""

    def begin(self) -> None:
        if self.method is None:
            self._send_status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            return
        if self.method.slow or self.method.watch:
            # Only these outlive a client that goes away; for the others it would be one event more.
            self._start(self._closed, cygrpc.ReceiveCloseOnServerOperation(_NONE))
        self._start(self._received, cygrpc.ReceiveMessageOperation(_NONE))

    def _received(self, event: Any) -> _Call | None:
        method = self.method
        assert method is not None
        data = event.batch_operations[0].message()
        if data is None:
            self._send_status(grpc.StatusCode.UNIMPLEMENTED, "Exactly one request is required")
        elif method.slow:
            self._loop.slow.submit(self.answer, data)
        elif method.together:
            self.data = data
            return self
        else:
            self.answer(data)
        return None

    def remaining_seconds(self) -> float:
        """Until the client's deadline."""
        return float(self._deadline - time.time())

    def answer(self, data: bytes) -> None:
        """Answer the request, alone."""
        assert self.method is not None
        self.send(run(self.method, data, self._is_active, self.remaining_seconds()))

    def send(self, answer: bytes | tuple[grpc.StatusCode, str]) -> None:
        """Send the answer, or the status that stands for none."""
        assert self.method is not None
        if not isinstance(answer, bytes):
            self._send_status(*answer)
        elif self.method.watch:
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
        assert self.method is not None
        assert self.method.watch is not None
        self._loop.watching.discard(self)
        self._finish(
            cygrpc.SendMessageOperation(self.method.watch(), _NONE),
            cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", _NONE),
        )

    def _send_status(self, code: grpc.StatusCode, message: str) -> None:
        self._finish(
            cygrpc.SendInitialMetadataOperation((), _NONE),
            cygrpc.SendStatusFromServerOperation((), code.value[0], message.encode(), _NONE),
        )

    def _finish(self, *operations: Any) -> None:
        if self.method is None or not (self.method.slow or self.method.watch):
            operations = (*operations, cygrpc.ReceiveCloseOnServerOperation(_NONE))
        self._start(_nothing, *operations)

    def _start(self, then: Callable[[Any], Any], *operations: Any) -> None:
        self._call.start_server_batch(operations, then)

    def _closed(self, event: Any) -> None:
        self._cancelled = event.batch_operations[0].cancelled()
        if self._cancelled:
            self._loop.watching.discard(self)

    def _is_active(self) -> bool:
        return not self._cancelled


def _answer_together(calls: list[_Call]) -> None:
    if len(calls) == 1:
        calls[0].answer(calls[0].data)
        return
    by_method: dict[Method, list[_Call]] = {}
    for call in calls:
        assert call.method is not None
        by_method.setdefault(call.method, []).append(call)
    for method, alike in by_method.items():
        requests = [(call.data, call.remaining_seconds()) for call in alike]
        for call, answer in zip(alike, run_together(method, requests), strict=True):
            try:
                call.send(answer)
            except Exception:
                # The others are waiting for theirs.
                log.exception("A gRPC call failed unexpectedly")


def _nothing(event: Any) -> None:
    """What follows the last operation of a call."""
