"""What each person did on each day, summed from the reactions as they happen.

Stay time is not simulated; it is made from what was: the watched time, and what the app holds a
person for beside it (`SECONDS_BESIDE_WATCHING`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator import Reactions, Requests
from simulator.config import DAY_MS
from simulator.questionnaire import ANSWERS, NO_ANSWER

Floats = NDArray[np.float64]

# A swipe after each shown video; writing a comment; choosing whom to forward to; an answer.
SECONDS_BESIDE_WATCHING = {"shown": 1.0, "comment": 10.0, "forward": 5.0, "answered": 3.0}
COUNTED_BEHAVIOURS = ("click", "long_view", "like", "follow", "comment", "forward")
COLUMNS = (
    "requests",
    "shown",
    "watch_seconds",
    *COUNTED_BEHAVIOURS,
    "true_satisfaction",
    "issued",
    "answered",
    *ANSWERS,
)


class Tallies:
    """Sums by day, user and column.

    Attributes:
        sums: `[days, users, len(COLUMNS)]`. A questionnaire counts on the day of its request,
            whenever its answer comes; `true_satisfaction` is summed over the shown videos.
    """

    def __init__(self, days: int, users: int, start_ms: int) -> None:
        self.sums = np.zeros((days, users, len(COLUMNS)))
        self._start_ms = start_ms

    def add(self, requests: Requests, reactions: Reactions) -> None:
        """Counts one batch."""
        truth = np.take_along_axis(requests.prospects.satisfaction, reactions.shown, axis=1)
        rows = len(requests)
        asked = reactions.questionnaires

        def asked_about(which: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(asked.row[which], minlength=rows)

        by_column = {
            "requests": np.ones(rows),
            "shown": np.full(rows, reactions.shown.shape[1]),
            "watch_seconds": reactions.played_ms.sum(axis=1) / 1000,
            **{name: reactions.behaviours[name].sum(axis=1) for name in COUNTED_BEHAVIOURS},
            "true_satisfaction": truth.sum(axis=1, dtype=np.float64),
            "issued": np.bincount(asked.row, minlength=rows),
            "answered": asked_about(asked.answer != NO_ANSWER),
            **{name: asked_about(asked.answer == code) for code, name in enumerate(ANSWERS)},
        }
        day = (requests.time_ms - self._start_ms) // DAY_MS
        values = np.stack([by_column[name] for name in COLUMNS], axis=1)
        np.add.at(self.sums, (day, requests.user), values)

    def period(self, first_day: int, end_day: int) -> dict[str, Floats]:
        """Totals of each user over the days from `first_day` up to but not `end_day`.

        `COLUMNS`, and `active_days`, `stay_seconds` and `positive_behaviours` made from them.
        """
        days = self.sums[first_day:end_day]
        totals = dict(zip(COLUMNS, np.moveaxis(days.sum(axis=0), -1, 0), strict=True))
        totals["active_days"] = (days[:, :, 0] > 0).sum(axis=0).astype(np.float64)
        totals["stay_seconds"] = totals["watch_seconds"] + sum(
            seconds * totals[name] for name, seconds in SECONDS_BESIDE_WATCHING.items()
        )
        # What the datasets's behaviour level counts: everything but the click.
        totals["positive_behaviours"] = sum(
            (totals[name] for name in COUNTED_BEHAVIOURS if name != "click"),
            start=np.zeros(days.shape[1]),
        )
        totals["told"] = totals["satisfied"] + totals["dissatisfied"]
        totals["users"] = np.ones(days.shape[1])
        return totals
