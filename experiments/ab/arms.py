"""One arm of a test while it lives: its model server, its client, its online training."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.ab.learner import Learner, Learnt
from experiments.ab.ranking import Order, RequestFeatures, ServedModel
from pipeline.configs import MODEL_NAME
from pipeline.server_process import ServerProcess, ServingError
from serving.client import RankingClient, RankingError
from simulator import Requests

_SERVER_SECONDS = 300.0
_CALL_SECONDS = 30.0
_SWAP_SECONDS = 120.0
_POLL_SECONDS = 0.1


class ArmError(RuntimeError):
    """An arm cannot go on; the message names it, says why, and where its log is."""


class Arm:
    """An arm: trains, serves, and ranks for its users.

    A context manager; the server that `launch` starts ends with it.

    Args:
        name: of the arm, for messages.
        folder: of the arm; made if it is not there.
        serving_dir: where `<version>/` of its models lie or will lie.
        learner: trains it; None serves what lies there.

    Attributes:
        name, folder: as given.
    """

    def __init__(self, name: str, folder: Path, serving_dir: Path, learner: Learner | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.folder = name, folder
        self._serving_dir, self._learner = serving_dir, learner
        self._log = folder.resolve() / "server.log"
        self._stack = contextlib.ExitStack()
        self._model: ServedModel | None = None
        self._probe: tuple[Requests, NDArray[np.int64]] | None = None

    def __enter__(self) -> Arm:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        if self._learner is not None:
            self._learner.close()

    def start(self, history: Path) -> Future[Learnt] | None:
        """Begins the first fit; `finished` waits for it. None where nothing is trained."""
        return self._learner.start(history) if self._learner is not None else None

    def learn(self, span: Path) -> Future[Learnt] | None:
        """Begins to learn a span; `finished` waits for it. None where nothing is trained."""
        return self._learner.learn(span) if self._learner is not None else None

    def finished(self, learning: Future[Learnt]) -> Learnt:
        """Waits for what was begun, and for the server to answer with the version it pushed.

        Raises:
            ArmError: Training failed, or the server does not take the new version up.
        """
        try:
            learnt = learning.result()
        except BrokenProcessPool as error:
            raise self._error("its training process died (out of memory?)") from error
        except Exception as error:
            raise self._error(f"training failed: {error}") from error
        if learnt.version is not None and self._probe is not None:
            self._wait_for(learnt.version)
        return learnt

    def launch(self) -> None:
        """Starts the server; `serve` waits for it."""
        server = ServerProcess(self._serving_dir.resolve(), MODEL_NAME, self._log)
        self._server = self._stack.enter_context(server)

    def serve(self, features: RequestFeatures) -> None:
        """Waits until the server is ready; from then on the arm ranks.

        Raises:
            ArmError: It does not get ready.
        """
        try:
            self._server.wait_until_available(_SERVER_SECONDS)
        except ServingError as error:
            raise self._error(str(error), self._log) from error
        address = self._server.address
        client = RankingClient(address, model=MODEL_NAME, deadline_seconds=_CALL_SECONDS)
        self._model = ServedModel(self._stack.enter_context(client), features)

    @property
    def server_pid(self) -> int:
        """The process of its server."""
        return self._server.pid

    @property
    def learns(self) -> bool:
        """Whether its model is trained at all."""
        return self._learner is not None

    @property
    def version(self) -> int | None:
        """The version that answered last."""
        return self._model.version if self._model is not None else None

    def order(self, requests: Requests, rows: NDArray[np.int64]) -> Order:
        """As `ranking.Ranker.order`, by the server.

        Raises:
            ArmError: The server does not answer, or refuses.
        """
        assert self._model is not None, "serve() comes first"
        self._probe = requests, rows[:1]
        try:
            return self._model.order(requests, rows)
        except RankingError as error:
            raise self._error(f"its model server did not rank: {error}", self._log) from error

    def _wait_for(self, version: int) -> None:
        """Asks, as a client would, until the server answers with the version."""
        assert self._probe is not None
        ends = time.monotonic() + _SWAP_SECONDS
        self.order(*self._probe)
        while self.version != version:
            if time.monotonic() > ends:
                raise self._error(
                    f"its model server still answers with version {self.version} "
                    f"{_SWAP_SECONDS:g} s after {version} was pushed",
                    self._log,
                )
            time.sleep(_POLL_SECONDS)
            self.order(*self._probe)

    def _error(self, what: str, log: Path | None = None) -> ArmError:
        log = log or self.folder / "framework.log"
        return ArmError(f"the {self.name} arm: {what} (its log: {log})")
