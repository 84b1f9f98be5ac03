"""The model that stays in memory from span to span, with the code that XLA compiled for it.

TFX's components hand each other folders. Those of a span's pipeline run in one process and find the
model by the name of its folder (`learner_of`); the folders are written all the same, and a process
that starts anew reads them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.configs import RunSettings
from pipeline.evaluation.eval_config import is_simulated
from pipeline.evaluation.slates import Kept
from pipeline.exporting import RankerExporter
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.prequential import TestedSpan, load_kept, save_kept, test_span
from pipeline.online.slates import SlateReader, SlateScorer, SplitSlates
from pipeline.trainer import CHECKPOINT
from pipeline.training_record import TrainingRecord
from pipeline.training_session import TrainingSession

HOLDOUT = "holdout"
ANSWERS_FILE = "answers.npz"

_LEARNERS: dict[str, Learner] = {}


def learner_of(name: str) -> Learner:
    """The learner that `Learner.register` made known in this process.

    Raises:
        RuntimeError: There is none: the component was started outside of an `OnlineEngine`.
    """
    if name not in _LEARNERS:
        raise RuntimeError(
            f"no model of {name} in this process: the pipeline of a span is run by OnlineEngine "
            "(easq online), which keeps the model in memory"
        )
    return _LEARNERS[name]


class Learner:
    """A model in training, the last blessed model's weights, and the window's slates.

    Args:
        name: The run's folder.
        dataset: The dataset.
        settings: Of the run.
        transform_graph: The full fit's transform graph.

    Attributes:
        session: The model, its optimizers and what it remembers of answers.
        simulated: Whether the logs know the true satisfaction.
        seconds: What the parts of the last training took: `learn`, `checkpoint`, `export`.
    """

    def __init__(
        self, name: str, dataset: DatasetConfig, settings: RunSettings, transform_graph: str
    ) -> None:
        self.name, self.dataset, self.settings = name, dataset, settings
        self.simulated = is_simulated(dataset)
        self.session = TrainingSession(settings.trainer, dataset, transform_graph)
        self._reader = SlateReader(dataset, self.session.parse)
        self._scorer = SlateScorer(self.session.model, jit_compile=settings.trainer.jit_compile)
        self._exporter = RankerExporter(self.session.transform_output, dataset)
        self.seconds: dict[str, float] = {}
        self._holds: str | None = None
        self._weights: dict[str, list[NDArray[Any]]] = {}
        self._held_out: dict[str, SplitSlates] = {}
        self._answers: dict[str, Kept] = {}

    def register(self) -> None:
        """Lets `learner_of` find it."""
        _LEARNERS[self.name] = self

    def close(self) -> None:
        """Undoes `register`."""
        _LEARNERS.pop(self.name, None)

    def hold(self, model: str) -> None:
        """Makes sure that the session has the state of a Model artifact.

        Raises:
            ValueError: Its checkpoint is damaged or of another model.
            FileNotFoundError: It has none.
        """
        if self._holds == model:
            return
        self._holds = None
        self.session.restore(str(Path(model, CHECKPOINT)))
        self._holds = model

    def test(self, model: str, examples: str, folder: Path) -> TestedSpan:
        """Scores a span before it is learnt.

        Args:
            model: The Model artifact that has not seen the span.
            examples: The span's Examples artifact.
            folder: Keeps what later windows need of it.
        """
        self.hold(model)
        train, held_out = (self._reader.read(examples, split) for split in ("train", HOLDOUT))
        anchors = self._reader.read(examples, "answered").anchors
        self._held_out[examples] = held_out
        dense = [(slates, self._scorer.scores(slates)) for slates in (train, held_out)]
        answered = [
            (anchors, self._scorer.scores(anchors)),
            _answered_rows(*dense[1]),
        ]
        tested = test_span(
            dense, [pair for pair in answered if pair[0].records], simulated=self.simulated
        )
        save_kept(folder / ANSWERS_FILE, tested.answers)
        self._answers[str(folder)] = tested.answers
        return tested

    def answers_of(self, folder: str) -> Kept:
        """What `test` kept in a folder."""
        if folder not in self._answers:
            self._answers[folder] = load_kept(Path(folder, ANSWERS_FILE))
        return self._answers[folder]

    def learn(
        self,
        base: str,
        model: str,
        dense_files: list[str],
        answered_files: list[str],
        slates: int | None,
    ) -> TrainingRecord:
        """Teaches a span to the state of `base` and writes the checkpoint of `model`."""
        self.hold(base)
        # If anything goes wrong on the way, what the session has is no state of either.
        self._holds = None
        with self._timed("learn"):
            record = self.session.learn(dense_files, answered_files, slates=slates)
        with self._timed("checkpoint"):
            self.session.save(str(Path(model, CHECKPOINT)))
        self._holds = model
        return record

    def export(self, folder: str) -> None:
        """Writes the SavedModel of what the session holds."""
        with self._timed("export"):
            self._exporter.export(self.session.model, folder)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - started, 3)

    def held_out(self, examples: str) -> SplitSlates:
        """The held-out users' slates of a span."""
        if examples not in self._held_out:
            self._held_out[examples] = self._reader.read(examples, HOLDOUT)
        return self._held_out[examples]

    def scores_of(self, model: str, slates: list[SplitSlates]) -> list[NDArray[np.float32]]:
        """ŷ of a Model artifact, whose weights are read from its checkpoint once."""
        current = self.session.model.get_weights()
        self.session.model.set_weights(self._weights_of(model))
        try:
            return [self._scorer.scores(part)["score"] for part in slates]
        finally:
            self.session.model.set_weights(current)

    def _weights_of(self, model: str) -> list[NDArray[Any]]:
        if self._holds == model:
            return self.session.model.get_weights()
        if model not in self._weights:
            held = self._holds
            self.hold(model)
            weights = self.session.model.get_weights()
            if held is not None:
                self.hold(held)
            self._weights = {model: weights}
        return self._weights[model]

    def keep_weights(self, model: str) -> None:
        """Keeps the weights that the session holds: they are the last blessed model's now."""
        self.hold(model)
        self._weights = {model: self.session.model.get_weights()}

    def forget(self, *, examples: set[str], tests: set[str]) -> None:
        """Drops slates and answers of all spans but the given ones."""
        self._held_out = {key: value for key, value in self._held_out.items() if key in examples}
        self._answers = {key: value for key, value in self._answers.items() if key in tests}


def _answered_rows(
    slates: SplitSlates, scores: dict[str, NDArray[np.float32]]
) -> tuple[SplitSlates, dict[str, NDArray[np.float32]]]:
    """The slates with an answer, and their scores."""
    rows = np.flatnonzero([(record.answer >= 0).any() for record in slates.records])
    return slates.take(rows), {name: value[rows] for name, value in scores.items()}
