"""Processes that make runs, until all are made.

Killed at any time, nothing is lost but the runs that were being made: each result is written by its
worker as soon as there is one, and what is there is not made again.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from experiments.dispatch import Task, WorkerState, choose
from experiments.runs import RunStore
from pipeline.progress import LOGGER, Progress

_DIED = "its process died (out of memory?)"
_SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Place:
    """Where an experiment works.

    Attributes:
        out: folder of everything it leaves.
        kuairand: folder of KuaiRand-Pure's files, where there is one.
        jit_compile: whether XLA compiles the training steps.
    """

    out: Path
    kuairand: Path | None = None
    jit_compile: bool = True

    @property
    def runs(self) -> RunStore:
        """Where results lie."""
        return RunStore(self.out / "runs")


@dataclass(frozen=True)
class Failure:
    """A task that could not be made, and why."""

    task: Task
    reason: str


@dataclass
class _Worker:
    process: Any
    connection: Connection
    state: WorkerState = field(default_factory=WorkerState)
    task: Task | None = None


class _Pace:
    """Says how far the work is, on the logger that `cli.progress_display` draws."""

    def __init__(self, name: str, done: int, total: int) -> None:
        self._name, self._before, self._done, self._total = name, done, done, total
        self._started = time.monotonic()
        self._next_line = self._started
        self._say()

    def finished(self) -> None:
        """One more is done."""
        self._done += 1
        if time.monotonic() >= self._next_line or self._done == self._total:
            self._say()

    def _say(self) -> None:
        now = time.monotonic()
        self._next_line = now + _SECONDS_BETWEEN_LINES
        left = ""
        if self._before < self._done < self._total:
            each = (now - self._started) / (self._done - self._before)
            minutes = each * (self._total - self._done) / 60
            left = f", {each:.1f} s each, {minutes:.0f} min left"
        message = f"{self._name}: {self._done:,} of {self._total:,} trainings{left}"
        state = Progress(self._name, self._done, "trainings", self._total)
        LOGGER.info(message, extra={"progress": state})


def make_runs(place: Place, name: str, tasks: list[Task], *, workers: int) -> list[Failure]:
    """Makes the runs that are not there yet.

    Args:
        place: where.
        name: of the experiment, for the progress.
        tasks: all tasks; done ones are left out.
        workers: how many processes.

    Returns:
        The tasks that failed; the others are made all the same.
    """
    store = place.runs
    pending = [task for task in tasks if not all(store.has(run) for run in task.runs)]
    pace = _Pace(name, len(tasks) - len(pending), len(tasks))
    failures: list[Failure] = []
    context = multiprocessing.get_context("spawn")
    crew: list[_Worker] = []
    place.out.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(min(workers, len(pending))):
            crew.append(_started(context, place, number))
        while pending or any(worker.task for worker in crew):
            for worker in crew:
                if worker.task is None and pending:
                    others = [other.state for other in crew if other is not worker]
                    worker.task = choose(pending, worker.state, others)
                    worker.state.cell = worker.task.runs[0].cell
                    pending.remove(worker.task)
                    worker.connection.send(worker.task)
            ready = wait([worker.connection for worker in crew if worker.task])
            for index, worker in enumerate(crew):
                if worker.connection not in ready:
                    continue
                task = worker.task
                assert task is not None
                try:
                    reason = worker.connection.recv()
                except EOFError:
                    reason = _DIED
                    crew[index] = _started(context, place, index)
                else:
                    worker.task = None
                    worker.state.compiled.add(task.structure)
                if reason:
                    failures.append(Failure(task, reason))
                pace.finished()
    finally:
        for worker in crew:
            worker.connection.close()
        for worker in crew:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.terminate()
    return failures


def _started(context: Any, place: Place, number: int) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, place, number), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even in the middle of a run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(connection: Connection, place: Place, number: int) -> None:
    """The life of a worker: one thread that computes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One thread, but no core of its own: tied to one, steps were seen to take twice as long.
    os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    log = place.out / f"worker-{number}.log"
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from experiments.cells import CellStore
    from experiments.laboratory import Laboratory

    laboratory = Laboratory(
        CellStore(place.out / "cache", place.kuairand), place.runs, jit_compile=place.jit_compile
    )
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        started = time.monotonic()
        try:
            laboratory.make([run for run in task.runs if not place.runs.has(run)])
            reason = ""
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        first = task.runs[0]
        seconds = time.monotonic() - started
        print(f"{first.cell.name} {first.method} {first.weight} {seconds:.1f} s {reason}")
        sys.stdout.flush()
        connection.send(reason)
