"""Means over users and their bootstrap intervals."""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import MAX_UNITS, bootstrap_means, bootstrap_ratios

NAN = float("nan")


def test_means_leave_out_users_without_the_value():
    means = bootstrap_means(np.array([[1.0, NAN], [3.0, 5.0], [NAN, NAN]]), seed=0)
    assert means.mean.tolist() == [2.0, 5.0]
    assert means.n_users.tolist() == [2, 1]


def test_one_user_has_no_interval():
    means = bootstrap_means(np.array([[1.0], [NAN]]), seed=0)
    assert np.isnan(means.interval(0)).all()


def test_no_user_at_all_gives_nan_not_an_error():
    means = bootstrap_means(np.zeros((0, 2)), seed=0)
    assert np.isnan(means.mean).all()
    assert np.isnan(means.interval(0, minus=1)).all()


def test_same_seed_same_interval():
    values = np.random.default_rng(1).normal(size=(50, 1))
    first, again, other = (bootstrap_means(values, seed=seed).interval(0) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("n", [400, 5 * MAX_UNITS])
def test_the_interval_of_a_mean_is_about_two_standard_errors_wide_on_each_side(n):
    values = np.random.default_rng(2).normal(size=(n, 1))
    low, high = bootstrap_means(values, seed=0).interval(0)
    expected = 1.96 * values.std() / np.sqrt(n)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert low < values.mean() < high


def test_the_interval_of_a_difference_is_paired_by_user():
    # Both columns vary a lot between users, and by the same amount: their difference hardly varies.
    user = np.random.default_rng(3).normal(size=500)
    noise = np.random.default_rng(4).normal(size=500) * 0.01
    means = bootstrap_means(np.stack([user + 0.1 + noise, user], axis=1), seed=0)
    low, high = means.interval(0, minus=1)
    assert 0.09 < low < high < 0.11
    alone_low, alone_high = means.interval(0)
    assert alone_high - alone_low > 20 * (high - low)


def test_a_ratio_weighs_users_by_their_counts():
    # One user with 8 answers of which 4 are likes, one with 2 of which 2 are.
    ratios = bootstrap_ratios(np.array([[4.0], [2.0]]), np.array([[8.0], [2.0]]), seed=0)
    assert ratios.mean.tolist() == [0.6]
    # The three samples of two users give 4/8, 6/10 and 2/2.
    assert set(np.round(ratios.replicates[:, 0], 6)) == {0.5, 0.6, 1.0}
