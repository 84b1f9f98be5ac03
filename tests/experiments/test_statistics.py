"""Intervals, tests and power against values computed by hand or known from tables."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics import Sample, holm, needed, paired_test

P_VALUES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1)


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_never_falls():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.5})

    assert adjusted == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.5})


@given(P_VALUES)
def test_holm_keeps_the_order_and_stays_between_the_p_value_and_bonferroni(p_values):
    adjusted = holm(p_values)

    assert list(adjusted) == list(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1, p * len(p_values)) + 1e-12
    ordered = sorted(p_values, key=p_values.get)
    assert [adjusted[name] for name in ordered] == sorted(adjusted.values())


@pytest.mark.parametrize(("t", "seeds"), [(12.706, 2), (2.365, 8), (2.262, 10)])
def test_the_paired_test_agrees_with_the_table_of_students_t_at_5_percent(t, seeds):
    """Values with mean t·s/√n, from ±1 about it."""
    spread = np.tile([-1.0, 1.0], seeds // 2)
    error = spread.std(ddof=1) / math.sqrt(seeds)

    assert paired_test(spread + t * error) == pytest.approx(0.05, abs=2e-4)


def test_the_paired_test_says_nothing_from_one_seed_and_all_from_differences_without_spread():
    assert paired_test([0.3]) == 1
    assert paired_test([0.0, 0.0]) == 1
    assert paired_test([0.2, 0.2]) == 0


def test_the_sample_that_a_difference_of_one_hundredth_needs():
    """(1.959964 + 0.841621)² = 7.8489, times (σ / δ)²."""
    assert needed(0.28) == 6154
    assert needed(0.02, 0.01) == 32
    assert needed(0.0) == 2


def test_means_weigh_seeds_equally_and_differences_are_paired():
    """Two seeds of 2 and 4 users: means 1.5 and 3, mean of both 2.25."""
    first = [np.array([1.0, 2.0]), np.array([3.0, 3.0, 3.0, 3.0])]
    sample = Sample.of([np.stack([v, v - 0.25], axis=1) for v in first])

    assert sample.interval(0).mean == pytest.approx(2.25)
    difference = sample.interval(0, minus=1)
    assert (difference.low, difference.mean, difference.high) == pytest.approx((0.25,) * 3)


def test_the_interval_covers_seeds_and_users():
    """Between seeds N(0, 1), within N(0, 1) of 100 users: variance of the mean (1 + .01) / 64."""
    rng = np.random.default_rng(0)
    values = [rng.normal(rng.normal(), 1, (100, 1)) for _ in range(64)]
    found = Sample.of(values).interval(0)

    width = 2 * 1.96 * math.sqrt(1.01 / 64)
    assert found.high - found.low == pytest.approx(width, rel=0.2)


def test_users_that_are_the_same_in_all_seeds_are_drawn_once():
    """64 seeds of the same 100 users, who vary by 1: the mean varies by 1/100, not by 1/6400."""
    rng = np.random.default_rng(0)
    users = rng.normal(0, 1, (100, 1))
    columns = [np.concatenate([users, 0 * users], axis=1)] * 64
    sample = Sample.of(columns, same_users=True)
    found = sample.interval(0)
    width = 2 * 1.96 * users.std() / math.sqrt(100)

    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert sample.n_users(0) == 100
    apart = Sample.of(columns).interval(0)
    assert apart.high - apart.low == pytest.approx(width / 8, rel=0.1)

    compared = sample.compare(0, 1)
    normal = 2 * (1 - NormalDist().cdf(abs(users.mean()) / (users.std() / 10)))
    assert (compared.users, compared.seeds) == (100, 64)
    assert compared.users_needed == needed(float(users.std()))
    assert compared.p == pytest.approx(normal, abs=0.05)


def test_users_without_the_metric_are_left_out_and_nobody_gives_no_interval():
    nan = math.nan
    sample = Sample.of([np.array([[1.0, nan], [nan, nan], [3.0, nan]])])

    assert sample.interval(0).mean == 2
    assert sample.n_users(0) == 2
    assert math.isnan(sample.interval(1).mean)
    assert sample.interval(1).to_dict() == {"mean": None, "low": None, "high": None}


def comparison(differences_by_seed, users=50, within=0.0):
    rng = np.random.default_rng(1)
    values = []
    for difference in differences_by_seed:
        base, noise = rng.normal(size=users), rng.normal(0, within, users)
        noise -= noise.mean()
        values.append(np.stack([base + difference + noise, base], axis=1))
    return Sample.of(values).compare(0, 1)


def test_a_clear_difference_is_better_or_worse_after_adjustment_only():
    better = comparison([0.05, 0.06, 0.05, 0.06])

    assert better.verdict(better.p) == "better"
    assert comparison([-0.05, -0.06, -0.05, -0.06]).verdict(0.001) == "worse"
    assert better.verdict(0.2).startswith("too few data: 4 seeds do not tell 0.0")


def test_no_winner_without_the_data_but_how_many_are_needed():
    """Seeds at ±.05: σ = .0577, so 262 of them; users at σ = .5: 19,623 of them."""
    noisy = comparison([0.05, -0.05, 0.05, -0.05], within=0.5)

    verdict = noisy.verdict(noisy.p)
    assert "262 seeds (there are 4)" in verdict
    assert "users with answers (there are 200)" in verdict
    assert noisy.users_needed == pytest.approx(19_622, rel=0.25)


def test_a_resolved_difference_of_nothing_is_equal():
    assert comparison([0.001, -0.001, 0.0, 0.001]).verdict(1.0) == "equal"


def test_no_users_with_answers_is_said():
    empty = Sample.of([np.full((3, 2), math.nan)] * 2).compare(0, 1)

    assert empty.verdict(empty.p) == (
        "too few answers: 0 users have what it takes, at least 2 are needed"
    )
