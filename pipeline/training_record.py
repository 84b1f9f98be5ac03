"""What is written down of a pass of training: curves, counts and times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from easq_keras.alarms import TrainingAlarms, TrainingDivergedError
from pipeline.pair_coverage import PairCoverage
from pipeline.progress import ProgressReporter
from pipeline.training_board import TrainingBoard

_HISTORY_POINTS = 200


@dataclass(frozen=True)
class TrainingRecord:
    """One pass over one span.

    Attributes:
        steps: Training steps of the pass.
        seconds: What it took, compilation and input included.
        pair_coverage: See `pipeline.pair_coverage`.
        answers: `fresh_groups` learnt in this pass, `waiting_groups` that found no room or whose
            answer is newer than the last slate, `remembered` for replay in the next pass.
        history: The curves: `step` and, by name, the mean since the point before.
        alarms: What was wrong when the pass ended, see `easq_keras.alarms`.
        diverged: Why it was broken off, where a loss was no number any more; "" else.
    """

    steps: int
    seconds: float
    pair_coverage: dict[str, float]
    answers: dict[str, int]
    history: dict[str, list[float]]
    alarms: list[str]
    diverged: str = ""


class StepRecorder(keras.callbacks.Callback):
    """Keeps the training curves at evenly spaced steps, reports progress and raises alarms.

    Args:
        task: What the progress calls the pass.
        batch_size: Dense slates a step.
        total_slates: Of the pass, where known.
        first_step: The model's steps before the pass.
        coverage: Counts the pairs of the batches, of which it may be ahead.
        board: Is given every point of the curves, if there is one.

    Attributes:
        history, steps: See `TrainingRecord`.
        alarms: Hears of every point.
        diverged: See `TrainingRecord`.
    """

    def __init__(
        self,
        task: str,
        batch_size: int,
        total_slates: int | None,
        first_step: int,
        *,
        coverage: PairCoverage | None = None,
        board: TrainingBoard | None = None,
    ) -> None:
        super().__init__()
        self._coverage, self._board = coverage, board
        self._batch_size, self._total, self._first = batch_size, total_slates, first_step
        self._every = max((total_slates or 0) // batch_size // _HISTORY_POINTS, 1)
        self._next = 0
        self._progress = ProgressReporter(task, "slates", total_slates)
        self.history: dict[str, list[float]] = {"step": []}
        self.steps = 0
        self.alarms = TrainingAlarms()
        self.diverged = ""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.alarms.set_model(model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Not `batch`: it counts whole executions, of which the last may be cut short.
        steps = int(self.model.optimizer.iterations) - self._first
        self.after_steps(steps, lambda: logs or {})

    def after_steps(self, steps: int, means: Callable[[], dict[str, Any]]) -> None:
        """Hears how many steps of the pass are made.

        Args:
            steps: So many.
            means: Returns what is reported since the point before; called where that is wanted.
        """
        self.steps = steps
        self._progress.update(self._slates())
        if self.steps < self._next:
            return
        self._next = self.steps + self._every
        last = self.history["step"][-1] if self.history["step"] else 0
        self.history["step"].append(self.steps)
        point = {name: float(value) for name, value in means().items()}
        if self._coverage is not None:
            pairs = self._coverage.pairs_by_batch[last : self.steps]
            point["pairs/share_of_batches"] = sum(found > 0 for found in pairs) / len(pairs)
            point["pairs/per_batch"] = sum(pairs) / len(pairs)
        for name, value in point.items():
            self.history.setdefault(name, []).append(value)
        if self._board is not None:
            self._board.write(self._first + self.steps, point)
        try:
            self.alarms.look(self._first + self.steps, point)
        except TrainingDivergedError as error:
            self.diverged = str(error)
            self.model.stop_training = True
        # Each point is the mean since the one before it, not since the start.
        self.model.reset_metrics()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._progress.update(self._slates(), finished=True)

    def _slates(self) -> int:
        # The last batch is filled up with empty slates.
        trained = self.steps * self._batch_size
        return trained if self._total is None else min(trained, self._total)
