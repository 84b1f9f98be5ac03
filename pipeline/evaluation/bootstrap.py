"""Means over users with bootstrap intervals: which differences are more than luck.

Users are the unit that is drawn, because a user's answers and requests are alike. One set of draws
serves all columns, so that the interval of a difference between two rankers is a *paired* one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPLICATES = 1000
# Beyond this many users, the interval comes from drawing as many groups of users: the same
# interval in the limit, at a cost that no longer grows.
MAX_UNITS = 2000
_CHUNK = 100


@dataclass(frozen=True)
class Means:
    """Means of some columns over users, with the replicates that their intervals come from.

    Attributes:
        mean: `[columns]`, over the users where the column is defined; NaN where there is none.
        replicates: `[replicates, columns]`.
        n_users: `[columns]`, how many users have the column.
    """

    mean: Floats
    replicates: Floats
    n_users: NDArray[np.int64]

    def interval(self, column: int, minus: int | None = None) -> tuple[float, float]:
        """The 95 % percentile interval of a column's mean, or of its difference to another's.

        `(nan, nan)` with fewer than two users: one user says nothing about others.
        """
        others = column if minus is None else minus
        if min(self.n_users[column], self.n_users[others]) < 2:
            return float("nan"), float("nan")
        drawn = self.replicates[:, column]
        if minus is not None:
            drawn = drawn - self.replicates[:, minus]
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return float(low), float(high)


def bootstrap_means(values: Floats, *, seed: int, replicates: int = REPLICATES) -> Means:
    """Averages each column over users and draws users with replacement for the intervals.

    Args:
        values: `[users, columns]`, NaN where a user does not have the column. The order of the
            users is part of the seed: sort them.
        seed: Same values, same seed, same intervals.
        replicates: How many draws.
    """
    defined = ~np.isnan(values)
    return bootstrap_ratios(
        np.where(defined, values, 0.0), defined.astype(np.float64), seed=seed, replicates=replicates
    )


def bootstrap_ratios(
    sums: Floats, counts: Floats, *, seed: int, replicates: int = REPLICATES
) -> Means:
    """Σ sums / Σ counts over users, a column each, with intervals from drawing users.

    Args:
        sums: `[users, columns]`, 0 where a user has nothing to add.
        counts: `[users, columns]`, what the sums are divided by, e.g. how many answers were summed.
        seed: Same values, same seed, same intervals.
        replicates: How many draws.
    """
    n_users = (counts > 0).sum(axis=0)
    mean = _ratio(sums.sum(axis=0), counts.sum(axis=0))
    rng = np.random.default_rng(seed)
    if len(sums) > MAX_UNITS:
        unit = rng.permutation(len(sums)) % MAX_UNITS
        sums, counts = _sum_by(unit, sums), _sum_by(unit, counts)
    units = len(sums)
    if units == 0:
        return Means(mean, np.full((replicates, sums.shape[1]), np.nan), n_users)
    drawn = np.empty((replicates, sums.shape[1]))
    for start in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - start)
        # How often each unit is drawn; counting drawn numbers is faster than a multinomial.
        numbers = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        times = np.bincount(numbers.ravel(), minlength=size * units).reshape(size, units)
        times = times.astype(np.float64)
        drawn[start : start + size] = _ratio(times @ sums, times @ counts)
    return Means(mean, drawn, n_users)


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)


def _sum_by(unit: NDArray[np.int64], rows: Floats) -> Floats:
    result = np.zeros((MAX_UNITS, rows.shape[1]))
    np.add.at(result, unit, rows)
    return result
