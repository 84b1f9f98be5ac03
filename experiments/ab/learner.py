"""The online training of an arm, in a process of its own.

Apart, because two models that train side by side use two cores, and because neither TensorFlow's
state nor an arm that dies can touch the other. The process ends with the one that made it.
"""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.configs import RunSettings
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import DatasetConfig

if TYPE_CHECKING:
    from pipeline.online.engine import OnlineEngine


@dataclass(frozen=True)
class Learnt:
    """What became of one span, or of the first fit.

    Attributes:
        version: that was pushed; None where nothing was.
        verdict: the gate's, in a sentence.
        seconds: it took.
        counts: of the examples.
    """

    version: int | None
    verdict: str
    seconds: float
    counts: dict[str, Any]


class Learner(Protocol):
    """Trains an arm's model and pushes its versions."""

    def start(self, history: Path) -> Future[Learnt]:
        """The first fit, on the log before the split. Doing so twice is doing so once."""

    def learn(self, span: Path) -> Future[Learnt]:
        """Goes on with one span of the arm's own log. Doing so twice is doing so once."""

    def close(self) -> None:
        """Ends the process."""


class OnlineLearner:
    """`Learner` by the pipeline: a full run for the first fit, then the online engine.

    Args:
        folder: the arm's work folder, with everything `easq run` and `easq online` leave behind.
        dataset: of the logs.
        settings: of the arm's runs.
    """

    def __init__(self, folder: Path, dataset: DatasetConfig, settings: RunSettings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = ProcessPoolExecutor(
            1,
            # A fresh interpreter: what this one holds of gRPC must not be forked.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_become_learner,
            initargs=(folder, dataset, settings),
        )

    def start(self, history: Path) -> Future[Learnt]:
        """As `Learner.start`."""
        return self._process.submit(_told, _first_fit, history)

    def learn(self, span: Path) -> Future[Learnt]:
        """As `Learner.learn`."""
        return self._process.submit(_told, _next_span, span)

    def close(self) -> None:
        """As `Learner.close`."""
        self._process.shutdown(cancel_futures=True)


@dataclass
class _State:
    """What the learner's process holds."""

    workdir: Workdir
    dataset: DatasetConfig
    settings: RunSettings
    engine: OnlineEngine | None = None


_state: _State


def _become_learner(folder: Path, dataset: DatasetConfig, settings: RunSettings) -> None:
    global _state
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    workdir = Workdir(folder)
    log = os.open(workdir.framework_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _state = _State(workdir, dataset, settings)


def _told(work: Callable[[Path], Learnt], log: Path) -> Learnt:
    """Does the work; an error goes on as one that any process can read."""
    try:
        return work(log)
    except Exception as error:
        logging.exception("%s: learning failed", log)
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _first_fit(history: Path) -> Learnt:
    workdir, dataset, settings = _state.workdir, _state.dataset, _state.settings
    if not workdir.report_json.exists():
        _run_pipeline(workdir, dataset, settings, history)
    report = json.loads(workdir.report_json.read_text(encoding="utf-8"))
    version = report["push"]["version"]
    return Learnt(
        version=None if version is None else int(version),
        verdict=report["verdict"]["sentence"],
        seconds=sum(step["seconds"] for step in report["steps"]),
        counts=report["counts"],
    )


def _run_pipeline(
    workdir: Workdir, dataset: DatasetConfig, settings: RunSettings, history: Path
) -> None:
    """What `easq run` does, with its report."""
    from pipeline.local_runner import ComponentEvent, local_pipeline, run_pipeline
    from pipeline.report import build_report, write_report
    from pipeline.run_artifacts import last_run_artifacts

    seconds: dict[str, float] = {}
    started = time.monotonic()

    def clock(event: ComponentEvent | None = None) -> None:
        nonlocal started
        now = time.monotonic()
        if event is None or event.finished:
            seconds[event.component if event else "Import of TFX"] = round(now - started, 2)
        started = now

    dag = local_pipeline(workdir, dataset, history, settings)
    clock()
    run_pipeline(dag, clock)
    report = build_report(
        root=workdir.root,
        artifacts=last_run_artifacts(workdir.metadata, dag.pipeline_info.pipeline_name),
        dataset=dataset,
        settings=settings,
        seconds=seconds,
        command="easq ab",
    )
    write_report(report, workdir)


def _next_span(folder: Path) -> Learnt:
    from pipeline.online import series
    from pipeline.online.engine import OnlineEngine
    from pipeline.online.spans import Span

    if _state.engine is None:
        _state.engine = OnlineEngine(_state.workdir, _state.dataset, _state.settings)
        _state.engine.resume()
    engine, span = _state.engine, Span.at(folder)
    if engine.is_new(span):
        engine.process(span)
    # What became of it is also known of a span that was learnt before a stop.
    record = next(
        record for record in series.read(engine.folder.series_file) if record["span"] == span.name
    )
    return Learnt(record["version"], record["reason"], record["seconds"]["all"], record["counts"])
