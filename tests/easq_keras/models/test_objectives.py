"""The terms of the objective against a loop over pairs, one at a time."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.models import objectives
from tests.easq_keras.models.small import batch, easq

FAST = settings(max_examples=25)
SEEDS = st.integers(0, 10_000)


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + np.exp(-x))


def slates(seed: int, rows: int = 3, width: int = 4):
    rng = np.random.default_rng(seed)
    levels = rng.integers(-1, 3, (rows, width)).astype("float32")
    mask = rng.random((rows, width)) < 0.8
    scores = rng.normal(0, 2, (rows, width)).astype("float32")
    satisfaction = rng.normal(0, 2, (rows, width)).astype("float32")
    return levels, mask, scores, satisfaction


def shown_pairs(levels, mask):
    """(row, i, j) for all ordered pairs of exposed candidates."""
    for row, (level, real) in enumerate(zip(levels, mask, strict=True)):
        there = [k for k in range(len(level)) if level[k] >= 0 and real[k]]
        yield from ((row, i, j) for i in there for j in there if i != j)


@FAST
@given(SEEDS)
def test_behaviour_loss_is_equation_11(seed):
    levels, mask, scores, _ = slates(seed)
    expected = sum(
        -np.log(sigmoid(float(scores[r, i]) - float(scores[r, j])))
        for r, i, j in shown_pairs(levels, mask)
        if levels[r, i] > levels[r, j]
    )
    weights = objectives.behaviour_preference(levels, objectives.exposed(levels, mask))
    assert float(objectives.pair_loss(weights, scores)) == pytest.approx(expected, rel=1e-4)


@FAST
@given(SEEDS, st.floats(0.05, 2.0))
def test_dense_dpo_is_the_weighted_sum_over_exposed_pairs(seed, beta):
    levels, mask, scores, satisfaction = slates(seed)
    reference = np.random.default_rng(seed + 1).normal(size=scores.shape).astype("float32")
    expected = 0.0
    for r, i, j in shown_pairs(levels, mask):
        weight = 2 * sigmoid(satisfaction[r, i]) - 2 * sigmoid(satisfaction[r, j])
        margin = scores[r, i] - scores[r, j] - (reference[r, i] - reference[r, j])
        expected += max(weight, 0.0) * -np.log(sigmoid(beta * float(margin)))
    shown = objectives.exposed(levels, mask)
    weights = np.maximum(objectives.probability_difference(satisfaction, shown), 0)
    loss = objectives.pair_loss(weights, scores, beta=beta, reference=reference)
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@FAST
@given(SEEDS, st.floats(0.0, 3.0))
def test_shaping_adds_steps_of_satisfaction_to_steps_of_behaviour(seed, shaping):
    levels, mask, _, satisfaction = slates(seed)
    shown = objectives.exposed(levels, mask)
    shaped = np.asarray(
        objectives.shaped_preference(
            objectives.behaviour_preference(levels, shown),
            objectives.probability_difference(satisfaction, shown),
            shaping,
        )
    )
    expected = np.zeros_like(shaped)
    for r, i, j in shown_pairs(levels, mask):
        liking = 2 * sigmoid(satisfaction[r, i]) - 2 * sigmoid(satisfaction[r, j])
        step = np.sign(levels[r, i] - levels[r, j]) + shaping * liking
        expected[r, i, j] = max(step, 0.0)
    np.testing.assert_allclose(shaped, expected, atol=1e-5)


def test_without_shaping_the_levels_are_those_of_equation_11():
    levels, mask, _, satisfaction = slates(3)
    shown = objectives.exposed(levels, mask)
    plain = objectives.behaviour_preference(levels, shown)
    difference = objectives.probability_difference(satisfaction, shown)
    np.testing.assert_array_equal(objectives.shaped_preference(plain, difference, 0.0), plain)


def test_the_reference_gets_no_gradient():
    levels, mask, scores, reference = slates(1)
    weights = objectives.behaviour_preference(levels, objectives.exposed(levels, mask))
    scores, reference = tf.Variable(scores), tf.Variable(reference)
    with tf.GradientTape() as tape:
        loss = objectives.pair_loss(weights, scores * 1.0, reference=reference * 1.0)
    of_scores, of_reference = tape.gradient(loss, [scores, reference])
    assert np.any(of_scores.numpy())
    assert of_reference is None


def test_scores_that_form_no_pair_may_be_anything():
    weights = np.zeros((1, 3, 3), "float32")
    weights[0, 0, 1] = 1.0
    scores = tf.Variable([[1.0, 0.0, np.inf]])
    with tf.GradientTape() as tape:
        loss = objectives.pair_loss(weights, scores * 1.0)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1)))
    gradient = tape.gradient(loss, scores).numpy()
    assert np.all(np.isfinite(gradient[0, :2]))


def test_answer_loss_is_the_cross_entropy_of_the_answered():
    answers = np.array([[1.0, 0.0, -1.0], [np.nan, 1.0, 0.0]], "float32")
    mask = np.array([[True, True, True], [True, True, False]])
    scores = np.array([[2.0, -1.0, 50.0], [np.nan, 0.5, 9.0]], "float32")
    valid = objectives.is_answer(answers, mask)
    expected = -np.log(sigmoid(2.0)) - np.log(1 - sigmoid(-1.0)) - np.log(sigmoid(0.5))
    assert float(objectives.answer_loss(answers, scores, valid)) == pytest.approx(expected)


@pytest.mark.parametrize("label", [-1.0, 1.5, 2.0, np.nan, np.inf, -np.inf])
def test_a_label_outside_zero_to_one_is_no_answer(label):
    assert not np.asarray(objectives.is_answer(np.array([[label]]), np.array([[True]])))[0, 0]


def test_spread_is_the_deviation_within_slates():
    scores = np.array([[1.0, 3.0, 99.0], [10.0, 10.0, 13.0]], "float32")
    shown = np.array([[True, True, False], [True, True, True]])
    # Within the first: ±1. Within the second: −1, −1, +2.
    assert float(objectives.spread(scores, shown)) == pytest.approx(
        np.sqrt((1 + 1 + 1 + 1 + 4) / 5)
    )


def test_rewards_of_slates_are_weighted_means():
    weights = np.zeros((1, 3, 3), "float32")
    weights[0, 0, 1], weights[0, 2, 0] = 1.0, 3.0
    rewards = objectives.slate_rewards(weights, np.array([[0.5, 0.1, 0.2]], "float32"))
    assert {name: round(float(value), 5) for name, value in rewards.items()} == {
        "rewards/chosen": (1 * 0.5 + 3 * 0.2) / 4,
        "rewards/rejected": (1 * 0.1 + 3 * 0.5) / 4,
        "rewards/margins": -0.125,
        "rewards/accuracies": 0.25,
    }


def test_rewards_of_answers_reach_across_the_rows_of_a_group():
    answers = np.array([[1.0, -1.0], [0.0, -1.0], [0.0, -1.0]], "float32")
    reward = np.array([[0.3, 9.0], [0.5, 9.0], [0.1, 9.0]], "float32")
    rewards = objectives.answer_rewards(answers, answers >= 0, reward, np.array([4, 4, 4]))
    assert {name: round(float(value), 5) for name, value in rewards.items()} == {
        "rewards/chosen": 0.3,
        "rewards/rejected": 0.3,
        "rewards/margins": 0.0,
        "rewards/accuracies": 0.5,
    }


@pytest.mark.parametrize("reference", ["behaviour", "satisfaction", "none"])
def test_the_transfer_of_the_model_is_dense_dpo_over_the_pairs_of_behaviour(reference):
    model = easq("recommended", dpo_reference=reference, beta=0.7)
    model.score_scale.assign([2.0, 0.5])
    features, labels = batch()
    outputs = model(features, learning=True)
    loss = float(model.objective(outputs, labels).terms["dpo"])

    levels, mask = labels["behaviour"], features["mask"] == 1
    score, satisfaction = np.asarray(outputs["score"]), np.asarray(outputs["satisfaction"])
    standardised = np.zeros_like(satisfaction)
    for row, shown in enumerate((levels >= 0) & mask):
        if shown.any():
            standardised[row] = 2.0 / 0.5 * (satisfaction[row] - satisfaction[row][shown].mean())
    against = {
        "behaviour": outputs.get("behaviour"),
        "satisfaction": standardised,
        "none": np.zeros_like(score),
    }[reference]
    against = np.asarray(against)
    total, behaviour_pairs = 0.0, 0
    for r, i, j in shown_pairs(levels, mask):
        behaviour_pairs += levels[r, i] > levels[r, j]
        weight = 2 * sigmoid(standardised[r, i]) - 2 * sigmoid(standardised[r, j])
        margin = (score[r, i] - score[r, j]) - (against[r, i] - against[r, j])
        total += max(weight, 0.0) * -np.log(sigmoid(0.7 * float(margin)))
    assert loss == pytest.approx(total / behaviour_pairs, rel=1e-4)


def test_a_collapsed_satisfaction_score_is_not_blown_up():
    model = easq("recommended")
    model.score_scale.assign([1.0, 1e-7])
    noise = np.array([[1e-6, -1e-6]], "float32")
    shown = np.array([[True, True]])
    assert np.abs(np.asarray(model.standardised(noise, shown))).max() < 1e-4
