"""Two models that were evaluated apart are compared by user all the same."""

import json
import math

import numpy as np
import pytest

from pipeline.evaluation.draws import Draws
from pipeline.evaluation.slates import Slates, reduce_slates
from pipeline.evaluation.user_metrics import evaluate
from pipeline.plain_data import plain

D, S = 0, 2
USERS = 8


def draws_of(right, *, answers=None):
    """A satisfied and a dissatisfied candidate a user; `right`: how each user's pair is scored."""
    size = np.full(USERS, 2)
    model = np.array([[1.0, 0.0] if each else [0.0, 1.0] for each in right]).ravel()
    kept = reduce_slates(
        Slates(
            user=np.arange(USERS, dtype=np.uint64),
            request=np.arange(USERS, dtype=np.uint64),
            size=size,
            scores=np.stack([model, np.zeros(2 * USERS), np.arange(2.0 * USERS)]),
            tie_break=np.arange(2.0 * USERS) / 100,
            level=np.zeros(2 * USERS, dtype=np.int64),
            answer=np.array(answers or [S, D] * USERS),
            true_satisfaction=np.full(2 * USERS, np.nan),
        )
    )
    return evaluate(kept, simulated=False, seed=0).draws


HALF = [True] * 4 + [False] * 4


def test_models_that_differ_in_no_user_differ_by_nothing():
    assert draws_of(HALF).interval_over(draws_of(HALF), "pair_accuracy") == (0.0, 0.0)


def test_the_difference_is_paired_by_user():
    # Each user's pair is the other way round: with the users drawn alike, the draws of the two
    # means add up to 1, and the difference is twice the one less 1.
    one, other = draws_of(HALF), draws_of([not each for each in HALF])
    low, high = one.interval_over(other, "pair_accuracy")
    own = np.percentile(one.by_metric["pair_accuracy"], [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(2 * own - 1))
    assert low < 0 < high


def test_other_answers_cannot_be_compared_by_user():
    other = draws_of(HALF, answers=[S, D] * (USERS - 1) + [D, S])
    assert all(math.isnan(end) for end in draws_of(HALF).interval_over(other, "pair_accuracy"))


def test_a_metric_that_one_user_has_is_not_compared():
    one = draws_of(HALF, answers=[S, D] + [S, -1] * (USERS - 1))
    assert "pair_accuracy" not in one.by_metric
    assert all(math.isnan(end) for end in one.interval_over(one, "pair_accuracy"))


@pytest.mark.parametrize(
    "again",
    [
        lambda draws: Draws.from_bytes(draws.to_bytes()),
        lambda draws: Draws.from_json(json.loads(json.dumps(plain(draws.to_json())))),
    ],
    ids=["bytes", "json"],
)
def test_draws_are_kept(again):
    draws = draws_of(HALF)
    kept = again(draws)
    assert kept.data == draws.data
    assert kept.by_metric.keys() == draws.by_metric.keys() >= {"pair_accuracy", "satisfied_auc"}
    for name, values in draws.by_metric.items():
        np.testing.assert_allclose(kept.by_metric[name], values, atol=1e-6)
