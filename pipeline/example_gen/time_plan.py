"""Where in time the log is cut: into training and evaluation, and into files of bounded size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.example_gen.columnar import Ints

# Slates of about this many impressions go into one file.
ROWS_PER_FILE = 500_000


@dataclass(frozen=True)
class TimeHistogram:
    """How many impressions there are in each second.

    It grows with the length of the log, not with its traffic, and histograms of parts of a log
    simply add up.

    Attributes:
        second: ascending, since 1970, of the seconds that have any.
        rows: how many, by second.
    """

    second: Ints
    rows: Ints

    @classmethod
    def of(cls, time_ms: Ints) -> TimeHistogram:
        """The histogram of these times."""
        second, rows = np.unique(time_ms // 1000, return_counts=True)
        return cls(second, rows)

    @classmethod
    def sum(cls, parts: Iterable[TimeHistogram]) -> TimeHistogram:
        """The histogram of all parts together."""
        all_parts = [*parts, cls.of(np.zeros(0, np.int64))]
        second, which = np.unique(
            np.concatenate([part.second for part in all_parts]), return_inverse=True
        )
        rows = np.concatenate([part.rows for part in all_parts])
        total = np.zeros(len(second), np.int64)
        np.add.at(total, which, rows)
        return cls(second, total)


@dataclass(frozen=True)
class TimePlan:
    """The cuts.

    Attributes:
        split_time_ms: slates from here on are for evaluation.
        file_starts_ms: ascending; a slate's file is the last one that starts at or before it.
    """

    split_time_ms: int
    file_starts_ms: tuple[int, ...]

    @classmethod
    def of(
        cls, log: TimeHistogram, eval_fraction: float, rows_per_file: int = ROWS_PER_FILE
    ) -> TimePlan:
        """The plan of a log.

        The split time is the first whole second from which on at most `eval_fraction` of the
        impressions are left.
        """
        if not len(log.second):
            return cls(0, (0,))
        through = np.cumsum(log.rows)
        evaluated_rows = int(eval_fraction * through[-1] + 1e-9)
        last_trained = int(np.searchsorted(through, through[-1] - evaluated_rows))
        # A new file begins in the second that would overfill the one before it.
        file = (through - log.rows) // rows_per_file
        evaluated = np.arange(len(file)) > last_trained
        new = np.append(True, (np.diff(file) > 0) | np.diff(evaluated))
        starts = log.second[new] * 1000
        return cls((int(log.second[last_trained]) + 1) * 1000, tuple(starts.tolist()))

    def file_of(self, time_ms: Ints) -> Ints:
        """The number of the file of each time, counted over both splits."""
        starts = np.array(self.file_starts_ms)
        return np.maximum(np.searchsorted(starts, time_ms, side="right") - 1, 0)

    def place_of_file(self, file: int) -> tuple[str, int]:
        """The split of a file, `train` or `eval`, and its number there."""
        evaluated = [start >= self.split_time_ms for start in self.file_starts_ms]
        first_evaluated = evaluated.index(True) if any(evaluated) else len(evaluated)
        if file < first_evaluated:
            return "train", file
        return "eval", file - first_evaluated
