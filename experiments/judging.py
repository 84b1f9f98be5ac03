"""Scores of the slates of a split → the metrics of each of its users.

`engagement` is the mean expected engagement (`World.expected_engagement`) of the first four
candidates of a request, averaged over a user's requests: the same four whose mean true satisfaction
is `true_top4`, so that gain and loss are of one and the same list. All other metrics are those of
`pipeline.evaluation.user_metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.slate_arrays import Judged
from pipeline.evaluation import ranking_metrics
from pipeline.evaluation.slates import TRUE_TOP, Slates, reduce_slates
from pipeline.evaluation.user_metrics import user_values

Floats = NDArray[np.float64]

ENGAGEMENT = "engagement"


@dataclass(frozen=True)
class UserTable:
    """Metrics of users, ascending by their hash: `values` `[users, len(names)]`, NaN undefined."""

    names: tuple[str, ...]
    values: Floats

    def means(self) -> dict[str, float | None]:
        """The mean of each metric over the users that have it; None where nobody has."""
        counts = self.n_users()
        sums = np.nansum(self.values, axis=0)
        return {
            name: float(total / counts[name]) if counts[name] else None
            for name, total in zip(self.names, sums, strict=True)
        }

    def n_users(self) -> dict[str, int]:
        """How many users have each metric."""
        known = (~np.isnan(self.values)).sum(axis=0)
        return {name: int(number) for name, number in zip(self.names, known, strict=True)}


def judge(judged: Judged, scores: NDArray[np.floating]) -> UserTable:
    """The metrics of one ranker.

    Args:
        judged: the slates.
        scores: `[slates, W]`; what stands on padding does not count.

    Raises:
        ValueError: a candidate's score is not finite.
    """
    inside = judged.candidates
    flat = scores[inside].astype(np.float64)
    if not np.isfinite(flat).all():
        raise ValueError(f"{(~np.isfinite(flat)).sum():,} of {len(flat):,} scores are not finite")
    simulated = not np.isnan(judged.true_satisfaction[inside]).any()
    slates = Slates(
        user=judged.user,
        request=judged.request,
        size=judged.size,
        scores=flat[None],
        tie_break=judged.tie_break[inside],
        level=judged.level[inside].astype(np.int64),
        answer=judged.answer[inside].astype(np.int64),
        true_satisfaction=judged.true_satisfaction[inside].astype(np.float64),
    )
    found = user_values(reduce_slates(slates), simulated=simulated)
    if not simulated:
        return UserTable(found.names, found.values[0])
    engagement = _top_engagement(judged, scores)
    return UserTable(
        (*found.names, ENGAGEMENT), np.concatenate([found.values[0], engagement[:, None]], axis=1)
    )


def _top_engagement(judged: Judged, scores: NDArray[np.floating]) -> Floats:
    inside = judged.candidates
    n = len(inside)
    slate = np.repeat(np.arange(n), judged.size)
    place = ranking_metrics.positions(
        slate, n, scores[inside].astype(np.float64), judged.tie_break[inside]
    )
    expected = judged.engagement[inside].astype(np.float64)
    top = ranking_metrics.top_mean(slate, n, place, expected, TRUE_TOP)
    users, user = np.unique(judged.user, return_inverse=True)
    total = np.bincount(user, weights=top, minlength=len(users))
    return total / np.bincount(user, minlength=len(users))


def ranker_scores(name: str, judged: Judged) -> Floats | None:
    """The scores of a ranker that needs no training; None if it knows nothing of these slates."""
    if name == "Oracle":
        scores = judged.true_satisfaction.astype(np.float64)
    elif name == "Popularity":
        scores = judged.popularity.astype(np.float64)
    else:
        scores = judged.tie_break
    return None if np.isnan(scores[judged.candidates]).any() else scores
