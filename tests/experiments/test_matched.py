"""Gain at matched cost: the best mixture within a budget, computed by hand and by brute force."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.matched import Part, Point, best_mixture, best_within

POINTS = st.lists(
    st.builds(Point, weight=st.none(), cost=st.floats(-0.02, 0.5), gain=st.floats(-1, 1)),
    max_size=6,
)


def value(mixture, points, field):
    return sum(
        part.share * getattr(points[part.index], field)
        for part in mixture
        if part.index is not None
    )


def test_a_weight_below_the_line_between_its_neighbours_is_skipped():
    """EMER and the second weight give .4 · .05 / .1 = .2 at .05, the first only .1."""
    points = [Point(1.0, 0.05, 0.1), Point(2.0, 0.10, 0.4)]

    assert best_mixture(points, 0.05) == (Part(None, 0.5), Part(1, 0.5))


def test_between_two_weights_the_mixture_spends_the_whole_budget():
    """A third of the way from cost .04 to cost .07 is .05: gain .4 + (.55 − .4) / 3 = .45."""
    points = [Point(1.0, 0.04, 0.4), Point(2.0, 0.07, 0.55)]
    mixture = best_mixture(points, 0.05)

    assert mixture == (Part(0, pytest.approx(2 / 3)), Part(1, pytest.approx(1 / 3)))
    assert value(mixture, points, "gain") == pytest.approx(0.45)


def test_below_the_cheapest_weight_emer_serves_the_rest():
    assert best_mixture([Point(1.0, 0.08, 0.4)], 0.02) == (Part(None, 0.75), Part(0, 0.25))


def test_a_frontier_that_bends_back_is_not_followed():
    points = [Point(1.0, 0.03, 0.4), Point(2.0, 0.06, 0.1)]

    assert best_mixture(points, 0.05) == (Part(0, 1.0),)


def test_what_only_loses_leaves_emer():
    assert best_mixture([Point(1.0, 0.01, -0.2)], 0.05) == (Part(None, 1.0),)
    assert best_mixture([], 0.05) == (Part(None, 1.0),)


@given(POINTS, st.sampled_from([0.0, 0.02, 0.05, 0.1]))
def test_no_single_weight_within_the_budget_beats_it_and_it_keeps_the_budget(points, budget):
    mixture = best_mixture(points, budget)

    assert sum(part.share for part in mixture) == pytest.approx(1)
    assert all(0 <= part.share <= 1 for part in mixture)
    assert value(mixture, points, "cost") <= budget + 1e-9
    gain = value(mixture, points, "gain")
    assert gain >= -1e-12
    assert all(gain >= point.gain - 1e-9 for point in points if point.cost <= budget)


@given(POINTS)
def test_a_larger_budget_never_gains_less(points):
    gains = [value(best_mixture(points, b), points, "gain") for b in (0, 0.02, 0.05, 0.1, 0.3)]

    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(gains))


def test_the_best_single_weight_within_the_budget_or_else_the_cheapest():
    points = [Point(1.0, 0.01, 0.1), Point(2.0, 0.04, 0.3), Point(3.0, 0.2, 0.9)]

    assert best_within(points, 0.05) == 1
    assert best_within(points[2:], 0.05) == 0
