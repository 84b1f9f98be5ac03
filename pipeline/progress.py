"""Progress of long work, reported through the standard logging module.

A component in a cluster logs one line every few seconds; a run on a terminal attaches a handler to
the logger `easq.progress` and draws a bar from the record's `progress`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

LOGGER = logging.getLogger("easq.progress")
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Progress:
    """One state of a piece of work.

    Attributes:
        task: what is being done, e.g. `training`.
        done: units done so far.
        unit: what is counted, e.g. `slates`.
        total: units in all, where known.
    """

    task: str
    done: int
    unit: str
    total: int | None = None


class ProgressReporter:
    """Reports one task, at most every few seconds; the first and last state always."""

    def __init__(self, task: str, unit: str, total: int | None = None) -> None:
        self._task, self._unit, self._total = task, unit, total
        self._started = time.monotonic()
        self._next_line = 0.0

    def update(self, done: int, *, finished: bool = False) -> None:
        """Says that `done` units are done."""
        now = time.monotonic()
        if not finished and now < self._next_line:
            return
        self._next_line = now + _SECONDS_BETWEEN_LINES
        seconds = max(now - self._started, 1e-9)
        rate = done / seconds
        of_total = f" of {self._total:,}" if self._total is not None else ""
        remaining = ""
        if self._total is not None and 0 < done < self._total:
            remaining = f", {(self._total - done) / rate:.0f} s left"
        state = Progress(self._task, done, self._unit, self._total)
        LOGGER.info(
            "%s: %s%s %s, %.0f a second%s",
            self._task,
            f"{done:,}",
            of_total,
            self._unit,
            rate,
            remaining,
            extra={"progress": state},
        )
