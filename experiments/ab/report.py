"""What a test found: plain data, and a page of text and plots for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.ab.lifts import Estimate, Lift, compare, resplits
from experiments.ab.settings import ABSettings
from experiments.ab.split import ARMS, CONTROL, TREATMENT, mismatch_p_value
from experiments.ab.tallies import Tallies

FORMAT = 1
# Below this p-value nothing else of the test is to be believed.
MISMATCH_ALARM = 0.001
_DAILY_REPLICATES = 200


def build_report(
    settings: ABSettings,
    arm: NDArray[np.int8],
    tallies: Tallies,
    learnt: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """The content of `report.json`: `lifts` is the table, `null` where something is not defined.

    Args:
        settings: of the test.
        arm: of each user.
        tallies: of all days.
        learnt: what each arm learnt of the history and of each span.
    """
    before = tallies.period(0, settings.history_days)
    measured = tallies.period(settings.first_measured_day, settings.all_days)
    return {
        "format": FORMAT,
        "settings": settings.to_dict(),
        "split": _split(settings, arm, tallies),
        "lifts": [_plain(row) for row in compare(measured, before, arm, seed=settings.seed)],
        "daily": [
            {
                "day": day - settings.history_days + 1,
                "measured": day >= settings.first_measured_day,
                "lifts": [
                    _plain(row)
                    for row in compare(
                        tallies.period(day, day + 1),
                        before,
                        arm,
                        seed=settings.seed,
                        replicates=_DAILY_REPLICATES,
                    )
                ],
            }
            for day in range(settings.history_days, settings.all_days)
        ],
        "resplits": _held(
            [
                row
                for rows in resplits(measured, before, splits=settings.resplits, seed=settings.seed)
                for row in rows
            ]
        ),
        "learnt": {name: list(steps) for name, steps in learnt.items()},
    }


def _split(settings: ABSettings, arm: NDArray[np.int8], tallies: Tallies) -> dict[str, Any]:
    """Users of each arm, all of them and those who came on the first day after the split, when no
    arm can have driven anybody away yet."""
    first = tallies.period(settings.history_days, settings.history_days + 1)["requests"] > 0
    counts = {
        "assigned": [int((arm == side).sum()) for side in (CONTROL, TREATMENT)],
        "came_on_the_first_day": [int((arm[first] == side).sum()) for side in (CONTROL, TREATMENT)],
    }
    return {
        name: {
            **dict(zip(ARMS, sides, strict=True)),
            "mismatch_p_value": mismatch_p_value(*sides, settings.treatment_share),
        }
        for name, sides in counts.items()
    }


def _held(rows: Sequence[Lift]) -> dict[str, Any] | None:
    """The share of the intervals of splits without a difference that hold 0, by metric."""
    if not rows:
        return None
    kinds = ("difference", "adjusted_difference")

    def share(chosen: Sequence[Lift]) -> dict[str, float | None]:
        known = {kind: [getattr(row, kind) for row in chosen] for kind in kinds}
        defined = {
            kind: [estimate for estimate in estimates if estimate.low is not None]
            for kind, estimates in known.items()
        }
        return {
            kind: float(np.mean([not estimate.differs for estimate in estimates]))
            if estimates
            else None
            for kind, estimates in defined.items()
        }

    names = list(dict.fromkeys(row.metric.name for row in rows))
    return {
        "splits": len(rows) // len(names),
        "all": share(rows),
        "by_metric": {
            name: share([row for row in rows if row.metric.name == name]) for name in names
        },
    }


def _plain(row: Lift) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    metric = values.pop("metric")
    return {
        "metric": metric["name"],
        "title": metric["title"],
        "better": metric["better"],
        **values,
    }


def differs(row: Mapping[str, Any], kind: str = "adjusted") -> bool:
    """Whether an interval of a row of the report leaves 0 out."""
    return Estimate(**row[kind]).differs
