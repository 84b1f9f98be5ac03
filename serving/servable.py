"""A loaded model version, and the handle that lets it be replaced while requests run on it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from serving.tensors import Array


class Engine(Protocol):
    """What runs a model: a TensorFlow session, or something faster that agrees with it."""

    @property
    def name(self) -> str:
        """The engine's name in the `runtime` label of the latency metric."""
        ...

    @property
    def signatures(self) -> Mapping[str, Any]:
        """The model's `SignatureDef`s by name."""
        ...

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Outputs by graph tensor name, in the order asked for."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class Signature:
    """A `SignatureDef` in plain Python: reading a protocol buffer's map costs as much as a small
    tensor does, and every request would do it again.

    Attributes:
        proto: the `SignatureDef`.
        method_name: the API it is meant for.
        inputs: graph tensor name by alias.
        outputs: graph tensor name by alias, sorted by alias.
        defaults: values (`TensorProto`) of inputs that a request may leave out.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.method_name = str(proto.method_name)
        self.inputs = {alias: str(info.name) for alias, info in sorted(proto.inputs.items())}
        self.outputs = {alias: str(info.name) for alias, info in sorted(proto.outputs.items())}
        self.defaults = dict(proto.defaults)


class Servable:
    """One version of one model, ready to answer.

    Used as a context manager it counts the requests that are under way, so that the version can be
    drained before it is closed.
    """

    def __init__(self, name: str, version: int, engine: Engine) -> None:
        self.name = name
        self.version = version
        self.engine = engine
        self.signatures = {
            key: Signature(signature) for key, signature in engine.signatures.items()
        }
        self._requests = 0
        self._draining = False
        self._idle = threading.Condition()

    def try_enter(self) -> bool:
        """Count one more request, unless the version is being drained."""
        with self._idle:
            if self._draining:
                return False
            self._requests += 1
            return True

    def leave(self) -> None:
        """The request is done."""
        with self._idle:
            self._requests -= 1
            if self._draining and not self._requests:
                self._idle.notify_all()

    def drain_and_close(self) -> None:
        """Refuse new requests, wait for those under way, free the model."""
        with self._idle:
            self._draining = True
            self._idle.wait_for(lambda: not self._requests)
        self.engine.close()

    def __enter__(self) -> Servable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
