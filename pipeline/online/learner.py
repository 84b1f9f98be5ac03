"""The model that stays in memory from span to span, with the code that XLA compiled for it.

TFX's components hand each other folders. Those of a span's pipeline run in one process and find the
model by the name of its folder (`learner_of`); the folders are written all the same, and a process
that starts anew reads them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.configs import RunSettings
from pipeline.evaluation.eval_config import is_simulated
from pipeline.evaluation.slates import Kept
from pipeline.exporting import RankerExporter
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.gate import Compared
from pipeline.online.prequential import TestedSpan, load_kept, save_kept, test_span
from pipeline.online.slates import SlateReader, SlateScorer, SplitSlates, candidate_scores, joined
from pipeline.trainer import CHECKPOINT
from pipeline.training_record import TrainingRecord
from pipeline.training_session import TrainingSession

# Slates of users who are never trained on; in the second, earlier slates whose answer came late.
HELD_OUT = ("holdout", "holdout_late")
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
    """A model in training, the weights it is compared with, and the window's slates.

    Args:
        name: The run's folder.
        dataset: The dataset.
        settings: Of the run.
        transform_graph: The full fit's transform graph.

    Attributes:
        transform_graph: As given.
        session: The model, its optimizers and what it remembers of answers.
        simulated: Whether the logs know the true satisfaction.
        seconds: What the parts of the last training took: `learn`, `checkpoint`, `export`.
        steps: Of the last training.
    """

    def __init__(
        self, name: str, dataset: DatasetConfig, settings: RunSettings, transform_graph: str
    ) -> None:
        self.name, self.dataset, self.settings = name, dataset, settings
        self.transform_graph = transform_graph
        self.simulated = is_simulated(dataset)
        self.session = TrainingSession(settings.trainer, dataset, transform_graph)
        self._reader = SlateReader(dataset, self.session.parse)
        self._scorer = SlateScorer(self.session.model, jit_compile=settings.trainer.jit_compile)
        self._exporter = RankerExporter(self.session.transform_output, dataset)
        self.seconds: dict[str, float] = {}
        self.steps = 0
        self._holds: str | None = None
        self._weights: dict[str, list[NDArray[Any]]] = {}
        self._held_out: dict[str, tuple[SplitSlates, SplitSlates]] = {}
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
        train, held_out, late = (
            self._reader.read(examples, split) for split in ("train", *HELD_OUT)
        )
        anchors = self._reader.read(examples, "answered").anchors
        self._held_out[examples] = held_out, late
        dense = [(slates, self._scorer.scores(slates)) for slates in (train, held_out)]
        of_holdout = held_out.take(np.flatnonzero(held_out.has_answer))
        answered = [(slates, self._scorer.scores(slates)) for slates in (anchors, of_holdout, late)]
        tested = test_span(dense, answered, simulated=self.simulated)
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
            record = self.session.learn(
                self.session.read_slates(dense_files),
                self.session.read_answered(answered_files),
                slates=slates,
            )
        self.steps = record.steps
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

    def held_out(self, examples: str) -> tuple[SplitSlates, SplitSlates]:
        """Held-out users' slates of a span, and their earlier ones that it brought answers to."""
        if examples not in self._held_out:
            slates, late = (self._reader.read(examples, split) for split in HELD_OUT)
            self._held_out[examples] = slates, late
        return self._held_out[examples]

    def candidate_scores(self, model: str, slates: SplitSlates) -> list[NDArray[np.float64]]:
        """ŷ of each slate's candidates, of a Model artifact whose weights are read once."""
        with self._weights_in_place(model):
            return candidate_scores(slates, self._scorer.scores(slates)["score"])

    @contextlib.contextmanager
    def _weights_in_place(self, model: str) -> Iterator[None]:
        """Lends the model in memory another one's weights; the held one has its own already."""
        if self._holds == model:
            yield
            return
        others = self._weights_of(model)
        current = self.session.model.get_weights()
        self.session.model.set_weights(others)
        try:
            yield
        finally:
            self.session.model.set_weights(current)

    def compared(
        self, candidate: str, blessed: str, best: str, window: Sequence[str]
    ) -> tuple[Compared, Compared]:
        """Scores the held-out slates of a window with a candidate and those before it.

        Args:
            candidate: A Model artifact.
            blessed: The last blessed one.
            best: The best one so far; may be the same.
            window: Examples artifacts.

        Returns:
            All slates that were served in the window; and those with an answer that arrived in it.
        """
        held_out = [self.held_out(examples) for examples in window]
        slates = joined([slates for slates, _ in held_out])
        late = joined([late for _, late in held_out])
        answered = np.flatnonzero(slates.has_answer)
        scores = {
            model: [self.candidate_scores(model, part) for part in (slates, late)]
            for model in dict.fromkeys((candidate, blessed, best))
        }
        models = (candidate, blessed) if best == blessed else (candidate, blessed, best)
        return (
            Compared(slates.records, *(scores[model][0] for model in models)),
            Compared(
                [*(slates.records[row] for row in answered), *late.records],
                *(
                    [*(scores[model][0][row] for row in answered), *scores[model][1]]
                    for model in models
                ),
            ),
        )

    def read_weights(self, model: str) -> None:
        """Makes sure that a Model artifact can be compared with; raises as `hold` does."""
        if self._holds != model:
            self._weights_of(model)

    def _weights_of(self, model: str) -> list[NDArray[Any]]:
        if model not in self._weights:
            held = self._holds
            self.hold(model)
            self._weights[model] = self.session.model.get_weights()
            if held is not None:
                self.hold(held)
        return self._weights[model]

    def keep_weights(self, model: str) -> None:
        """Keeps the weights that the session holds: they are the last blessed model's now."""
        self.hold(model)
        self._weights[model] = self.session.model.get_weights()

    def forget(self, *, models: set[str], examples: set[str], tests: set[str]) -> None:
        """Drops weights, slates and answers of all artifacts but the given ones."""
        if self._holds not in models:
            self._holds = None
        self._weights = {key: value for key, value in self._weights.items() if key in models}
        self._held_out = {key: value for key, value in self._held_out.items() if key in examples}
        self._answers = {key: value for key, value in self._answers.items() if key in tests}
