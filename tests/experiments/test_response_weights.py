"""Answers repeated by inverse propensity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.response_weights import (
    COPIES,
    inverse_propensities,
    logistic_regression,
    repeats,
    reweighted,
)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=50))
def test_an_answer_is_repeated_as_often_as_its_weight_says_to_within_one(weights):
    found = repeats(np.array(weights))

    assert (np.abs(found - np.array(weights)) <= 1 + 1e-9).all()
    assert abs(found.sum() - sum(weights)) <= 0.5 + 1e-9


def stream(groups):
    """Slates of width 2 whose first candidate is answered; `groups` numbers them."""
    n = len(groups)
    rng = np.random.default_rng(0)
    return {
        "pair_group": np.array(groups, np.int64),
        "group_time": np.array(groups, np.int64),
        "score_z": rng.normal(size=(n, 2)).astype(np.float32),
        "answer_label": np.tile(np.array([1.0, -1.0], np.float32), (n, 1)),
        "behaviour_level": np.tile(np.array([1.0, 0.0], np.float32), (n, 1)),
    }


def test_all_alike_repeats_whole_groups_in_their_order():
    answered = stream([0, 0, 1])
    found = reweighted(answered, answered, inverse=False)

    assert found["pair_group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]
    assert found["group_time"].tolist() == [0] * 2 * COPIES + [1] * COPIES
    assert np.array_equal(found["score_z"][:2], answered["score_z"][:2])


def test_nobody_answered_stays_so():
    empty = {name: value[:0] for name, value in stream([0]).items()}

    assert len(reweighted(empty, stream([0, 1]), inverse=True)["pair_group"]) == 0


def test_logistic_regression_finds_the_log_odds_of_a_table():
    """Of x = 1, 300 of 400 are ones (log-odds ln 3), of x = 0 100 of 400 (ln ⅓)."""
    x = np.repeat([1.0, 0.0], 400)
    labels = np.tile(np.repeat([1.0, 0.0], [300, 100]), 2)
    labels[400:] = 1 - labels[400:]
    slope, base = logistic_regression(np.stack([x, np.ones(800)], axis=1), labels)

    assert slope + base == pytest.approx(np.log(3), abs=0.05)
    assert base == pytest.approx(-np.log(3), abs=0.05)


def test_answers_that_were_likely_count_less():
    """Shown videos have a standard normal feature; those answered lie a whole unit higher."""
    rng = np.random.default_rng(1)
    train = stream(list(range(2000)))
    train["score_z"] = rng.normal(size=(2000, 2)).astype(np.float32)
    answered = stream(list(range(300)))
    answered["score_z"] = rng.normal(1.0, 1.0, size=(300, 2)).astype(np.float32)
    train["behaviour_level"][:] = answered["behaviour_level"][:] = 1.0
    weights = inverse_propensities(answered, train, np.arange(300))

    assert weights.mean() == pytest.approx(1)
    assert np.corrcoef(weights, answered["score_z"][:, 0])[0, 1] < -0.7
    weighted = np.average(answered["score_z"][:, 0], weights=weights)
    assert abs(weighted) < 0.35 < answered["score_z"][:, 0].mean()
