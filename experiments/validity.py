"""`validity` (Fig. 3 of the paper): do people who say they are satisfied also behave so?

For each behaviour and answer: the lift of its rate over that of all shown videos, and Cohen's d
between videos answered so and all others shown, with 95 % intervals from drawing users. Nothing is
trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.cells import surveyed_slates
from experiments.options import MIDDLE, Options
from experiments.runs import RunSpec
from experiments.workers import Place
from pipeline.evaluation.bootstrap import bootstrap_ratios
from pipeline.example_gen.columnar import one_chunk, text_ranks
from pipeline.logs.canonical import DISSATISFIED, SATISFIED, UNCERTAIN, behaviour_column

ANSWERS = {"satisfied": SATISFIED, "uncertain": UNCERTAIN, "dissatisfied": DISSATISFIED}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Validity:
    about: str

    def blocks(self, options: Options) -> list[list[RunSpec]]:
        """Nothing is trained."""
        del options
        return []

    def summary(self, options: Options, place: Place) -> dict[str, Any]:
        """`validity.json`: of the first seed's logs."""
        rows = []
        for cell in options.cells(options.seeds[0], (MIDDLE,)):
            slates, behaviours = surveyed_slates(cell, place.kuairand)
            name = f"{cell.dataset}-{cell.scenario}" if cell.scenario else cell.dataset
            rows.append({"name": name, "behaviours": behaviour_lifts(slates, behaviours)})
        return {"rows": rows}


EXPERIMENT = _Validity("behaviours given the answer, with intervals")


def behaviour_lifts(slates: pa.Table, behaviours: tuple[str, ...]) -> dict[str, Any]:
    """Lifts and effect sizes.

    Args:
        slates: `BuiltSlates.slates`.
        behaviours: names, as in the dataset config.

    Returns:
        By behaviour its `rate` over all shown videos and, by answer: `n_answers`, `lift` and
        `cohens_d`, each with `mean`, `low`, `high`; None where nobody answered so.
    """
    sizes = np.diff(np.asarray(one_chunk(slates, "item_id").offsets))
    user = np.repeat(text_ranks(slates.column("user_id"))[0], sizes)

    def flat(name: str) -> NDArray[Any]:
        return one_chunk(slates, name).flatten().to_numpy(zero_copy_only=False)

    shown = flat("exposed").astype(bool)
    user, answer = user[shown], flat("answer")[shown]
    found: dict[str, Any] = {}
    for name in behaviours:
        happened = flat(behaviour_column(name))[shown].astype(np.float64)
        found[name] = {"rate": round(float(happened.mean()), 6)}
        for label, code in ANSWERS.items():
            found[name][label] = _compared(user, happened, answer == code)
    return found


def _compared(user: NDArray[np.int64], happened: Floats, chosen: NDArray[np.bool_]) -> Any:
    if chosen.sum() < 2:
        return None
    n_users = int(user.max()) + 1

    def by_user(rows: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        sums = np.bincount(user[rows], weights=happened[rows], minlength=n_users)
        return sums, np.bincount(user[rows], minlength=n_users).astype(np.float64)

    groups = [by_user(rows) for rows in (np.ones_like(chosen), chosen, ~chosen)]
    sums = np.stack([of[0] for of in groups], axis=1)
    counts = np.stack([of[1] for of in groups], axis=1)
    means = bootstrap_ratios(sums, counts, seed=0)
    overall, answered, others = means.mean
    if overall == 0:
        return None
    n = counts.sum(axis=0)
    spread = _pooled(answered, n[1], others, n[2])
    drawn = means.replicates
    lifts = drawn[:, 1] / drawn[:, 0] - 1
    effects = (drawn[:, 1] - drawn[:, 2]) / spread
    return {
        "n_answers": int(n[1]),
        "lift": _interval(answered / overall - 1, lifts),
        "cohens_d": _interval((answered - others) / spread, effects),
    }


def _pooled(first: float, n_first: float, second: float, n_second: float) -> float:
    """The pooled standard deviation of two groups of zeros and ones."""
    variances = [p * (1 - p) * n / (n - 1) for p, n in ((first, n_first), (second, n_second))]
    degrees = (n_first - 1, n_second - 1)
    pooled = (variances[0] * degrees[0] + variances[1] * degrees[1]) / sum(degrees)
    return math.sqrt(pooled)


def _interval(mean: float, drawn: Floats) -> dict[str, float]:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    values = {"mean": mean, "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in values.items()}
