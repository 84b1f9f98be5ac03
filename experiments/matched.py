"""Gain in satisfaction at matched loss of engagement.

The protocol, the same for every method:

1. Train the method at every weight of its grid (`method_info(name).grid`; the budget of tuning).
2. On *validation*, each weight is a point (cost, gain) against EMER of the same seed; EMER itself
   is (0, 0). Cost is the relative loss of engagement, `1 − E / E_EMER`.
3. A budget of cost picks the best mixture of at most two points: a share of the requests served by
   one, the rest by the other, the mean cost at most the budget. A mixture is what linear
   interpolation of the frontier stands for; here it is a policy one could serve.
4. On *test* the mixture that validation picked is judged, once: its gain, and the cost it turned
   out to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The budgets of cost at which methods are compared.
COSTS = (0.02, 0.05, 0.10)


@dataclass(frozen=True)
class Point:
    """One weight on validation: relative loss of engagement, gain in satisfaction."""

    weight: float | None
    cost: float
    gain: float


@dataclass(frozen=True)
class Part:
    """A point of the grid, by its index (None: EMER), and the share of requests it serves."""

    index: int | None
    share: float


Mixture = tuple[Part, ...]


def best_mixture(points: Sequence[Point], budget: float) -> Mixture:
    """The mixture of at most two points with the largest gain at a cost of at most `budget`.

    EMER, at cost and gain 0, may always be one of them, so there is a mixture for every budget of
    at least 0. Of two with the same gain the simpler, then the earlier wins.
    """
    grid: list[tuple[int | None, float, float]] = [(None, 0.0, 0.0)]
    grid += [(number, point.cost, point.gain) for number, point in enumerate(points)]
    within = [entry for entry in grid if entry[1] <= budget]
    beyond = [entry for entry in grid if entry[1] > budget]
    best: Mixture = ()
    best_gain = float("-inf")
    for index, _, gain in within:
        if gain > best_gain:
            best, best_gain = (Part(index, 1.0),), gain
    for cheap, cheap_cost, cheap_gain in within:
        for dear, dear_cost, dear_gain in beyond:
            share = (budget - cheap_cost) / (dear_cost - cheap_cost)
            gain = (1 - share) * cheap_gain + share * dear_gain
            if gain > best_gain:
                best, best_gain = (Part(cheap, 1 - share), Part(dear, share)), gain
    return best


def best_within(points: Sequence[Point], budget: float) -> int:
    """The single point with the largest gain at a cost of at most `budget`.

    Where every point costs more, the cheapest.
    """
    within = [number for number, point in enumerate(points) if point.cost <= budget]
    if not within:
        return min(range(len(points)), key=lambda number: points[number].cost)
    return max(within, key=lambda number: points[number].gain)
