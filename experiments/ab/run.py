"""The days of one test: history, first fits, then day by day traffic and training.

    report = run_ab(ABSettings(control="EMER", treatment="EASQ"), Path("easq_ab"))

One world holds both arms, and its people are split between them. They touch in one place: the world
has a fixed number of requests a day, so a person who comes back more often takes requests from all
others alike; ratios between the arms are free of it. Time in the world stands still while models
train: an answer is learnt when the span of its arrival ends.

A run that was stopped goes on, in the same folder, from the last span whose log was closed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.ab.arms import Arm, ArmError
from experiments.ab.learner import Learner, Learnt, OnlineLearner
from experiments.ab.ranking import LoggingPolicy, RequestFeatures
from experiments.ab.report import build_report
from experiments.ab.settings import ABSettings
from experiments.ab.split import ARMS, split
from experiments.ab.tallies import Tallies
from experiments.ab.traffic import Tables, Traffic
from pipeline.configs import RunSettings
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from pipeline.progress import ProgressReporter
from pipeline.whole_files import whole_file
from simulator import World
from simulator.logs import items_table, users_table

# Names a step and yields what takes the few words about it.
Step = Callable[[str], AbstractContextManager[Callable[[str], object]]]
MakeLearner = Callable[[Path, DatasetConfig, RunSettings], Learner]


@contextlib.contextmanager
def _silent(name: str) -> Iterator[Callable[[str], None]]:
    yield lambda detail: None


def run_ab(
    settings: ABSettings,
    folder: Path,
    *,
    step: Step = _silent,
    make_learner: MakeLearner = OnlineLearner,
) -> dict[str, Any]:
    """Runs a test, or what is left of it, and returns its report (`report.build_report`).

    Args:
        settings: of the test.
        folder: for everything it leaves behind.
        step: shows progress.
        make_learner: trains an arm.

    Raises:
        ArmError: An arm cannot go on: its training failed, its first model was not blessed, or
            its server does not answer.
        RuntimeError: The folder is in use, or holds another test.
    """
    with Workdir(folder).locked(), contextlib.ExitStack() as stack:
        test = _Test(settings, folder, _dataset(settings.users))
        test.resume()
        arms = [stack.enter_context(test.arm(name, make_learner)) for name in ARMS]
        test.live(arms, step)
        with step("Statistics"):
            return build_report(settings, test.arms, test.tallies, test.learnt)


def _dataset(users: int) -> DatasetConfig:
    """The simulator's, with hash buckets enough to tell the users of a larger world apart."""
    config = load_dataset_config("simulated").to_dict()
    for feature in config["features"]:
        if feature["name"] == "user_id":
            feature["buckets"] = max(feature["buckets"], 4 * users)
    return DatasetConfig.from_dict(config)


class _Test:
    """The state of a test, and what moves it on."""

    def __init__(self, settings: ABSettings, folder: Path, dataset: DatasetConfig) -> None:
        self.settings, self._folder, self._dataset = settings, folder, dataset
        config = settings.world()
        self._world = World(config)
        self.arms = split(config.users, f"ab-{settings.seed}", settings.treatment_share)
        self.tallies = Tallies(config.days, config.users, config.start_ms)
        self._traffic = Traffic(self._world, self.arms, self.tallies)
        # What each arm learnt: first of the history, then of each span.
        self.learnt: dict[str, list[dict[str, Any]]] = {name: [] for name in ARMS}
        # How many logs are closed: of the history, then of each span.
        self._closed = 0

    def arm(self, name: str, make_learner: MakeLearner) -> Arm:
        """One of the two arms."""
        folder = self._folder / name
        served_by = self.settings.served_by(name)
        if isinstance(served_by, Path):
            return Arm(name, folder, served_by, None)
        learner = make_learner(folder, self._dataset, served_by)
        return Arm(name, folder, Workdir(folder).serving_dir, learner)

    def live(self, arms: list[Arm], step: Step) -> None:
        """From wherever the test stands to its last day."""
        settings = self.settings
        if self._closed == 0:
            with step("History"):
                requests = settings.history_days * settings.requests_per_day
                (log,) = self._traffic.run(requests, [LoggingPolicy(self._world)])
                _write_log(self._history, log)
                self._write_profiles(self._history)
                for arm in arms:
                    self._write_profiles(self._spans(arm))
                self._closed = 1
                self._save()
        learning = any(arm.learns for arm in arms)
        if learning:
            with step("First fits") as detail:
                detail(self._learn(0, arms, [arm.start(self._history) for arm in arms]))
        with step("Servers"):
            features = RequestFeatures(self._world, self._dataset)
            for arm in arms:
                arm.launch()
            for arm in arms:
                arm.serve(features)
        spans = (settings.all_days - settings.history_days) * settings.spans_per_day
        for number in range(1, spans + 1):
            name = f"Span {number} of {spans}"
            if number >= self._closed:
                with step(f"{name}, traffic") as detail:
                    self._serve_span(number, arms)
                    detail(f"served by {' and '.join(str(arm.version) for arm in arms)}")
            # Nobody asks after the last span.
            if learning and self._learnt <= number < spans:
                with step(f"{name}, training") as detail:
                    learnings = [arm.learn(self._span(arm, number)) for arm in arms]
                    detail(self._learn(number, arms, learnings))

    @property
    def _learnt(self) -> int:
        """How many logs were learnt by the arms that learn."""
        return max(len(what) for what in self.learnt.values())

    def _serve_span(self, number: int, arms: list[Arm]) -> None:
        per_day, spans = self.settings.requests_per_day, self.settings.spans_per_day
        # The n-th span of a day; where the day does not divide evenly they differ by one request.
        of_day = (number - 1) % spans
        requests = per_day * (of_day + 1) // spans - per_day * of_day // spans
        reporter = ProgressReporter("traffic", "requests", requests)
        logs = self._traffic.run(requests, arms, reporter.update)
        for arm, log in zip(arms, logs, strict=True):
            _write_log(self._span(arm, number), log)
        self._closed = number + 1
        self._save()

    def _learn(self, number: int, arms: list[Arm], learnings: list[Future[Learnt] | None]) -> str:
        """Waits for the arms, which learn log `number` side by side; says what came of it."""
        outcomes = []
        for arm, learning in zip(arms, learnings, strict=True):
            if learning is None:
                continue
            learnt = arm.finished(learning)
            if number == 0 and learnt.version is None:
                raise ArmError(
                    f"the {arm.name} arm has no first model to serve: {learnt.verdict} Make the "
                    "history longer, or the gate less strict in a file of run settings."
                )
            outcomes.append(f"{arm.name} {'pushed' if learnt.version else 'not pushed'}")
            # Of a test that goes on, the first fit and perhaps a span are known already.
            self.learnt[arm.name][number : number + 1] = [dataclasses.asdict(learnt)]
        self._save()
        return ", ".join(outcomes)

    @property
    def _history(self) -> Path:
        return self._folder / "history"

    def _spans(self, arm: Arm) -> Path:
        return arm.folder / "spans"

    def _span(self, arm: Arm, number: int) -> Path:
        return self._spans(arm) / f"span-{number:05d}"

    def _write_profiles(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(users_table(self._world), folder / "users.parquet")
        pq.write_table(items_table(self._world), folder / "items.parquet")

    @property
    def _state_file(self) -> Path:
        return self._folder / "state.npz"

    def _save(self) -> None:
        """All of the state in one file, which is replaced in one step."""
        unarrived = pa.BufferOutputStream()
        with pa.ipc.new_stream(unarrived, self._traffic.unarrived.schema) as writer:
            writer.write_table(self._traffic.unarrived)
        text = {"settings": self.settings.to_dict(), "closed": self._closed, "learnt": self.learnt}
        file = io.BytesIO()
        np.savez(
            file,
            text=np.array(json.dumps(text)),
            tallies=self.tallies.sums,
            unarrived=np.frombuffer(unarrived.getvalue(), np.uint8),
            **{f"world/{name}": values for name, values in self._world.state().items()},
        )
        with whole_file(self._state_file) as partial:
            partial.write_bytes(file.getvalue())

    def resume(self) -> None:
        """Takes up a test that was stopped in this folder; raises where it is another test."""
        if not self._state_file.exists():
            return
        with np.load(self._state_file) as state:
            text = json.loads(str(state["text"]))
            if text["settings"] != self.settings.to_dict():
                raise RuntimeError(
                    f"{self._folder} holds a test with other settings; choose another folder, or "
                    "delete it"
                )
            self._closed, self.learnt = text["closed"], text["learnt"]
            self.tallies.sums[:] = state["tallies"]
            with pa.ipc.open_stream(pa.py_buffer(state["unarrived"].tobytes())) as reader:
                self._traffic.unarrived = reader.read_all()
            prefix = "world/"
            self._world.restore(
                {
                    name.removeprefix(prefix): state[name]
                    for name in state
                    if name.startswith(prefix)
                }
            )


def _write_log(folder: Path, log: Tables) -> None:
    """A complete log: a reader that watches the folder waits for `_SUCCESS`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in log.items():
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "_SUCCESS").touch()
