"""What can be said after a few seeds and some thousand users: intervals, tests, power.

Seeds (worlds, initial weights) and users within a world are drawn by chance, so intervals come
from a hierarchical bootstrap: draw seeds with replacement, and in each drawn seed users with
replacement. Methods are always compared on the same seeds and the same users: one set of draws
serves all.

The seeds of a real log are those of models alone: all of them are judged by the same users, who are
drawn once for all. More seeds then tell more of the model and nothing more of people, so that the
test is that of the bootstrap and not Student's t over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import bootstrap_means

Floats = NDArray[np.float64]

REPLICATES = 1000
LEVEL = 0.05
POWER = 0.8
# The difference that an experiment should be able to see.
RESOLUTION = 0.01


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval; NaN where too few seeds or users know it."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain data with four digits; None for NaN."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {
            name: None if math.isnan(value) else round(value, 4) for name, value in values.items()
        }


@dataclass(frozen=True)
class Sample:
    """Columns (methods and metrics) of the users of some seeds, and what their bootstrap drew.

    Attributes:
        values: for each seed `[users, columns]`; NaN where a user has none.
        means: `[seeds, columns]`, over users.
        drawn: `[replicates, columns]`, means over drawn seeds and users.
        same_users: whether the users of all seeds are the same, in the same order.
    """

    values: tuple[Floats, ...]
    means: Floats
    drawn: Floats
    same_users: bool = False

    @classmethod
    def of(
        cls,
        values: Sequence[Floats],
        *,
        same_users: bool = False,
        seed: int = 0,
        replicates: int = REPLICATES,
    ) -> Sample:
        """Draws the bootstrap.

        Args:
            values: for each seed `[users, columns]`.
            same_users: whether row for row these are the same users in all seeds.
            seed: of the bootstrap.
            replicates: how many draws.
        """
        # By seed, the means of bootstrap samples of its users; one drawn seed uses one of them.
        # From one seed of the bootstrap all draw the same users.
        found = [
            bootstrap_means(
                of_seed, seed=seed if same_users else seed + number, replicates=replicates
            )
            for number, of_seed in enumerate(values)
        ]
        rng = np.random.default_rng(seed)
        shape = (replicates, len(found))
        which, sample = rng.integers(len(found), size=shape), rng.integers(replicates, size=shape)
        if same_users:
            sample[:] = np.arange(replicates)[:, None]
        by_seed = np.stack([means.replicates for means in found])
        total = np.zeros((replicates, by_seed.shape[2]))
        for position in range(len(found)):
            total += by_seed[which[:, position], sample[:, position]]
        means = np.stack([means.mean for means in found])
        return cls(tuple(values), means, total / len(found), same_users)

    def interval(self, column: int, minus: int | None = None) -> Interval:
        """The mean over seeds of a column, or of its difference to another, with 95 %.

        With one seed the interval covers users alone.
        """
        means, drawn = self.means[:, column], self.drawn[:, column]
        if minus is not None:
            means, drawn = means - self.means[:, minus], drawn - self.drawn[:, minus]
        if np.isnan(means).any() or self.n_users(column) < 2:
            return Interval(math.nan, math.nan, math.nan)
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return Interval(float(means.mean()), float(low), float(high))

    def n_users(self, column: int) -> int:
        """How many users have the column; where each seed has its own, those of all seeds."""
        by_seed = [int((~np.isnan(of_seed[:, column])).sum()) for of_seed in self.values]
        return max(by_seed) if self.same_users else sum(by_seed)

    def compare(self, first: int, second: int) -> Comparison:
        """Compares two columns on the same seeds and users."""
        differences = [of_seed[:, first] - of_seed[:, second] for of_seed in self.values]
        known = [values[~np.isnan(values)] for values in differences]
        known = [values for values in known if len(values)]
        by_seed = [float(values.mean()) for values in known]
        between = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0
        if self.same_users:
            p = _bootstrap_test(self.drawn[:, first] - self.drawn[:, second])
            known = [np.mean(known, axis=0)] if known else []
        else:
            p = paired_test(by_seed)
        # Within seeds alone: the spread between seeds has its own line.
        within = math.sqrt(np.mean([values.var() for values in known])) if known else 0.0
        return Comparison(
            difference=self.interval(first, minus=second),
            p=p,
            seeds=len(by_seed),
            users=sum(len(values) for values in known),
            seeds_needed=needed(between),
            users_needed=needed(within),
        )


@dataclass(frozen=True)
class Comparison:
    """One method against another on the same seeds and users.

    Attributes:
        difference: the first less the second.
        p: of Student's t over seeds, or of the bootstrap where all seeds have the same users;
            before any adjustment.
        seeds, users: how many there were; users are those of all seeds that have the metric.
        seeds_needed, users_needed: to see a difference of `RESOLUTION`.
    """

    difference: Interval
    p: float
    seeds: int
    users: int
    seeds_needed: int
    users_needed: int

    @property
    def resolves(self) -> bool:
        """Whether a difference of `RESOLUTION` would have been seen."""
        return self.seeds >= self.seeds_needed and self.users >= self.users_needed

    def verdict(self, adjusted_p: float) -> str:
        """`better`, `worse`, `equal` (within the resolution), or how much more data it takes."""
        if self.users < 2:
            return f"too few answers: {self.users} users have what it takes, at least 2 are needed"
        if self.seeds >= 2 and adjusted_p < LEVEL:
            return "better" if self.difference.mean > 0 else "worse"
        mean = self.difference.mean
        if self.resolves and abs(mean) <= RESOLUTION:
            return "equal"
        if self.resolves:
            return f"too few data: {self.seeds} seeds do not tell {mean:.3f} from chance"
        wanted = []
        if self.users < self.users_needed:
            wanted.append(f"{self.users_needed:,} users with answers (there are {self.users:,})")
        if self.seeds < self.seeds_needed:
            wanted.append(f"{self.seeds_needed:,} seeds (there are {self.seeds})")
        return f"too few data: a difference of {RESOLUTION:g} needs {' and '.join(wanted)}"


def paired_test(differences: Sequence[float]) -> float:
    """The two-sided p value of Student's t over paired seeds; 1 where there are fewer than two."""
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return 1.0
    spread = values.std(ddof=1) / math.sqrt(len(values))
    if spread == 0:
        return 1.0 if values.mean() == 0 else 0.0
    return _two_sided(abs(float(values.mean())) / spread, degrees=len(values) - 1)


def _bootstrap_test(drawn: Floats) -> float:
    """The two-sided p value of a bootstrap: twice the share of draws on the other side of 0."""
    known = drawn[~np.isnan(drawn)]
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(known) + 1))


def _two_sided(t: float, degrees: int) -> float:
    """P(|T| > t) of Student's T with so many degrees of freedom ν.

    T = √ν · tan U has U with a density ∝ cos^(ν−1) on (−π/2, π/2), so that it is one smooth
    integral over a bounded range.
    """
    angle = math.atan(t / math.sqrt(degrees))
    tail = np.linspace(angle, math.pi / 2, 20_001)
    whole = np.linspace(0, math.pi / 2, 20_001)
    density = [np.cos(u) ** (degrees - 1) for u in (tail, whole)]
    return float(np.trapezoid(density[0], tail) / np.trapezoid(density[1], whole))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjustment: p values to hold against the level however many comparisons there are.

    The smallest of m is multiplied by m, the next by m − 1, …; none may fall below one before it.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def needed(deviation: float, difference: float = RESOLUTION) -> int:
    """How many independent paired units show a difference with 80 % power at the 5 % level.

    `n = ((z(.975) + z(.8)) · σ / δ)²`, at least 2.

    Args:
        deviation: standard deviation σ of the paired differences.
        difference: δ.
    """
    z = NormalDist().inv_cdf(1 - LEVEL / 2) + NormalDist().inv_cdf(POWER)
    return max(2, math.ceil((z * deviation / difference) ** 2))
