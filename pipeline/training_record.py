"""What is written down of a pass of training: curves, counts and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from pipeline.progress import ProgressReporter

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
    """

    steps: int
    seconds: float
    pair_coverage: dict[str, float]
    answers: dict[str, int]
    history: dict[str, list[float]]


class StepRecorder(keras.callbacks.Callback):
    """Keeps the training curves at evenly spaced steps and reports progress.

    Args:
        task: What the progress calls the pass.
        batch_size: Dense slates a step.
        total_slates: Of the pass, where known.
        first_step: The model's steps before the pass.
    """

    def __init__(
        self, task: str, batch_size: int, total_slates: int | None, first_step: int
    ) -> None:
        super().__init__()
        self._batch_size, self._total, self._first = batch_size, total_slates, first_step
        self._every = max((total_slates or 0) // batch_size // _HISTORY_POINTS, 1)
        self._next = 0
        self._progress = ProgressReporter(task, "slates", total_slates)
        self.history: dict[str, list[float]] = {"step": []}
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Not `batch`: it counts whole executions, of which the last may be cut short.
        self.steps = int(self.model.optimizer.iterations) - self._first
        self._progress.update(self._slates())
        if self.steps < self._next:
            return
        self._next = self.steps + self._every
        self.history["step"].append(self.steps)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        # Each point is the mean since the one before it, not since the start.
        self.model.reset_metrics()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._progress.update(self._slates(), finished=True)

    def _slates(self) -> int:
        # The last batch is filled up with empty slates.
        trained = self.steps * self._batch_size
        return trained if self._total is None else min(trained, self._total)
