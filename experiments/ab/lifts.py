"""Which differences between the arms are more than luck.

Every row of the table is a ratio of sums over users: Σ numerator / Σ denominator, the denominator
being the number of users for "… per user". Its relative lift is treatment / control - 1, with the
percentile interval of a bootstrap that draws users within each arm: what one person does in a week
is alike, so that videos or requests are not independent and users are.

Adjusted lifts use the days before the split, when everybody was served alike (CUPED: Deng, Xu,
Kohavi, Walker, WSDM 2013; for ratios on the linearised metric z = numerator - R·denominator). What
a user's earlier days foretell, by a regression over both arms, is taken off each arm's mean: the
same expected lift, and a narrower interval, since people differ far more from each other than an
arm changes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.ab.split import CONTROL, TREATMENT, split
from pipeline.evaluation.bootstrap import REPLICATES, bootstrap_ratios

Floats = NDArray[np.float64]
Totals = Mapping[str, Floats]

# z(97.5 %) + z(80 %): what the lift must be, in standard errors, to be seen in 80 % of tests.
_POWER = 1.959964 + 0.841621
RESOLVED_LIFT = 0.01


@dataclass(frozen=True)
class Metric:
    """A row of the table: Σ `numerator` / Σ `denominator` over users.

    Attributes:
        name: in JSON.
        title: for people.
        numerator, denominator: columns of `Tallies.period`.
        better: 1 where more is better, -1 where less is.
    """

    name: str
    title: str
    numerator: str
    denominator: str = "users"
    better: int = 1


# The rows of the paper's Table 2 in its order, then what it cannot know or does not show.
METRICS = (
    Metric("retention", "LT7 (active days a user)", "active_days"),
    Metric("stay_time", "Stay time (s a user)", "stay_seconds"),
    Metric("watch_time", "Watch time (s a user)", "watch_seconds"),
    Metric("video_views", "Video views (a user)", "click"),
    Metric("like", "Like (a user)", "like"),
    Metric("follow", "Follow (a user)", "follow"),
    Metric("comment", "Comment (a user)", "comment"),
    Metric("forward", "Forward (a user)", "forward"),
    Metric("questionnaire_rate", "Q-rate (yes or no / issued)", "told", "issued"),
    Metric("satisfied", "Q-Satisfied (of the answers)", "satisfied", "answered"),
    Metric("dissatisfied", "Q-Dissatisfied (of the answers)", "dissatisfied", "answered", -1),
    Metric("true_satisfaction", "True satisfaction (a shown video)", "true_satisfaction", "shown"),
    Metric("requests", "Requests (a user)", "requests"),
    Metric("watch_per_request", "Watch time (s a request)", "watch_seconds", "requests"),
    Metric(
        "engagement_per_request",
        "Positive behaviours (a request)",
        "positive_behaviours",
        "requests",
    ),
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; all None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


_UNDEFINED = Estimate(None, None, None)


@dataclass(frozen=True)
class Lift:
    """One row of the table.

    Attributes:
        metric: which.
        control, treatment: the values of the arms.
        difference, adjusted_difference: treatment - control, as it is and adjusted by the days
            before the split.
        lift, adjusted: treatment / control - 1, likewise. Undefined unless the control's value is
            surely above 0.
        users_needed: users of both arms together that would resolve an adjusted lift of 1 % (80 %
            power, 95 % interval), were they like these.
    """

    metric: Metric
    control: float | None
    treatment: float | None
    difference: Estimate
    adjusted_difference: Estimate
    lift: Estimate
    adjusted: Estimate
    users_needed: int | None


def compare(
    totals: Totals,
    before: Totals,
    arm: NDArray[np.int8],
    *,
    seed: int,
    metrics: tuple[Metric, ...] = METRICS,
    replicates: int = REPLICATES,
) -> list[Lift]:
    """The lifts of every metric.

    Args:
        totals: each user's totals over the measured days (`Tallies.period`).
        before: the same over the days before the split.
        arm: of each user.
        seed: of the draws.
        metrics: the rows.
        replicates: how many draws.
    """
    numerator = np.stack([totals[metric.numerator] for metric in metrics], axis=1)
    denominator = np.stack([totals[metric.denominator] for metric in metrics], axis=1)
    foretold = np.stack(
        [
            _foretold(numerator[:, place], denominator[:, place], _covariates(metric, before), arm)
            for place, metric in enumerate(metrics)
        ],
        axis=1,
    )
    sides = []
    for side in (CONTROL, TREATMENT):
        of_arm = arm == side
        # One set of draws serves a metric and what was foretold of it.
        both = np.hstack([numerator[of_arm], foretold[of_arm]])
        means = bootstrap_ratios(
            both, np.tile(denominator[of_arm], 2), seed=2 * seed + side, replicates=replicates
        )
        plain, known = np.hsplit(np.vstack([means.mean, means.replicates]), 2)
        sides.append((plain, plain - known))
    (control, control_adjusted), (treatment, treatment_adjusted) = sides
    return [
        _row(
            metric,
            control[:, place],
            treatment[:, place],
            control_adjusted[:, place],
            treatment_adjusted[:, place],
            len(arm),
        )
        for place, metric in enumerate(metrics)
    ]


def resplits(
    totals: Totals, before: Totals, *, splits: int, seed: int, replicates: int = 200
) -> Iterator[list[Lift]]:
    """Splits the same users anew, by other keys, as if two arms had been alike all along.

    The true lift of such a split is 0: about 95 % of the intervals have to hold it.
    """
    users = len(totals["users"])
    for number in range(splits):
        arm = split(users, f"resplit-{seed}-{number}")
        yield compare(totals, before, arm, seed=seed + number, replicates=replicates)


def _covariates(metric: Metric, before: Totals) -> Floats:
    """What the earlier days say about a user: [users, 2], centred over all users."""
    numerator, denominator = before[metric.numerator], before[metric.denominator]
    total = denominator.sum()
    ratio = numerator.sum() / total if total else 0.0
    columns = np.stack([numerator - ratio * denominator, before["requests"]], axis=1)
    return columns - columns.mean(axis=0)


def _foretold(
    numerator: Floats, denominator: Floats, covariates: Floats, arm: NDArray[np.int8]
) -> Floats:
    """The part of a metric's numerator that the covariates foretell, [users].

    The slopes are common to both arms; the arms' own means are kept out of the regression, so that
    no effect of the treatment is taken for something foretold.
    """
    z = np.empty_like(numerator)
    x = covariates.copy()
    for side in (CONTROL, TREATMENT):
        of_arm = arm == side
        total = denominator[of_arm].sum()
        ratio = numerator[of_arm].sum() / total if total else 0.0
        z[of_arm] = numerator[of_arm] - ratio * denominator[of_arm]
        x[of_arm] -= x[of_arm].mean(axis=0) if of_arm.any() else 0.0
    slopes, *_ = np.linalg.lstsq(x, z, rcond=None)
    return covariates @ slopes


def _row(
    metric: Metric,
    control: Floats,
    treatment: Floats,
    control_adjusted: Floats,
    treatment_adjusted: Floats,
    users: int,
) -> Lift:
    """A row from each arm's value (first entry) and replicates (the others)."""
    lift = adjusted = _UNDEFINED
    users_needed = None
    if np.isfinite(control).any() and np.nanpercentile(control[1:], 2.5) > 0:
        with np.errstate(divide="ignore", invalid="ignore"):  # in a rare draw
            lifts = treatment / control - 1
            adjusted_lifts = treatment_adjusted / control_adjusted - 1
        lift, adjusted = _estimate(lifts), _estimate(adjusted_lifts)
        if adjusted.value is not None:
            error = float(np.nanstd(adjusted_lifts[1:]))
            users_needed = round(users * (_POWER * error / RESOLVED_LIFT) ** 2)
    return Lift(
        metric,
        *(float(arm[0]) if np.isfinite(arm[0]) else None for arm in (control, treatment)),
        difference=_estimate(treatment - control),
        adjusted_difference=_estimate(treatment_adjusted - control_adjusted),
        lift=lift,
        adjusted=adjusted,
        users_needed=users_needed,
    )


def _estimate(values: Floats) -> Estimate:
    """From a value (first entry) and its replicates (the others)."""
    if not np.isfinite(values[0]) or not np.isfinite(values[1:]).any():
        return _UNDEFINED
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))
