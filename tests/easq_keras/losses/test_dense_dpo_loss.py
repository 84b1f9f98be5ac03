"""DPO on all exposed pairs, weighted by the predicted preference."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.losses import dense_dpo_loss
from tests.easq_keras.losses.numpy_losses import dense_dpo, gradient_by_differences
from tests.easq_keras.losses.strategies import Batch, batches

PREFERENCE = np.array([[1.0, -1.0, 0.5], [0.3, 0.2, 0.1]])
SCORES = np.array([[0.2, 0.4, -0.1], [0.0, 1.0, 2.0]])


def with_gradients(preference, scores, reference, **options) -> tuple[float, list[np.ndarray]]:
    inputs = [tf.constant(value) for value in (preference, scores, reference)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = dense_dpo_loss(*inputs, **options)
    gradients = tape.gradient(loss, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return float(loss), [gradient.numpy() for gradient in gradients]


def test_a_pair_worked_out_by_hand() -> None:
    loss, [of_preference, of_scores, of_reference] = with_gradients(
        [[2.0, 0.0]], [[1.0, 0.0]], [[0.5, 0.0]], beta=2.0
    )
    # Weight 2σ(2) − 2σ(0) = 0.761594; u = 0.5; −log σ(1) = 0.313262; pull 2σ(−1) = 0.537883.
    assert loss == pytest.approx(0.761594 * 0.313262, abs=1e-6)
    pull = 0.761594 * 0.537883
    np.testing.assert_allclose(of_scores, [[-pull, pull]], atol=1e-6)
    assert not np.any(of_preference)
    assert not np.any(of_reference)


@settings(max_examples=25)
@given(batch=batches(), beta=st.sampled_from([0.1, 1.0, 3.0]))
def test_value_and_gradient_are_those_of_the_formula(batch: Batch, beta: float) -> None:
    preference = np.roll(batch.reference, 1) + 0.1 * batch.scores

    def formula(scores: np.ndarray) -> float:
        return dense_dpo(preference, scores, batch.reference, batch.mask, beta)

    loss, [_, gradient, _] = with_gradients(
        preference, batch.scores, batch.reference, mask=batch.mask, beta=beta
    )
    assert loss == pytest.approx(formula(batch.scores), abs=1e-9)
    np.testing.assert_allclose(gradient, gradient_by_differences(formula, batch.scores), atol=1e-8)


def test_the_number_of_pairs_can_be_that_of_another_loss() -> None:
    total, _ = with_gradients(PREFERENCE, SCORES, 0 * SCORES, reduction="sum")
    mean, _ = with_gradients(PREFERENCE, SCORES, 0 * SCORES)
    shared, _ = with_gradients(PREFERENCE, SCORES, 0 * SCORES, num_pairs=5.0)
    assert mean == pytest.approx(total / 6)  # two slates of three pairs
    assert shared == pytest.approx(total / 5)
    none, gradients = with_gradients(
        PREFERENCE, SCORES, 0 * SCORES, mask=np.zeros((2, 3)), num_pairs=0.0
    )
    assert none == 0.0
    assert not np.any(gradients[1])


@pytest.mark.parametrize("preference", [np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_without_a_preference_loss_and_gradient_are_exactly_0(preference: np.ndarray) -> None:
    loss, [_, gradient, _] = with_gradients(preference, SCORES, 0 * SCORES)
    assert loss == 0.0
    assert not np.any(gradient)


def test_what_is_not_exposed_never_matters() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    clean = with_gradients(PREFERENCE, SCORES, 0 * SCORES, mask=mask)
    for junk in (np.nan, np.inf, 1e30):
        inputs = [np.where(mask, x, junk) for x in (PREFERENCE, SCORES, 0 * SCORES)]
        dirty = with_gradients(*inputs, mask=mask)
        assert dirty[0] == clean[0]
        np.testing.assert_array_equal(dirty[1][1], clean[1][1])


def test_huge_numbers_are_no_trouble_and_nan_scores_are_not_hidden() -> None:
    huge = np.array([[1e4, -1e4, 0.0]], "float32")
    loss, [_, gradient, _] = with_gradients(huge, -huge, huge)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    loss, _ = with_gradients(PREFERENCE, np.where(SCORES == 2.0, np.nan, SCORES), 0 * SCORES)
    assert np.isnan(loss)


def test_compiled_it_computes_the_same() -> None:
    compiled = tf.function(dense_dpo_loss, jit_compile=True)
    expected, _ = with_gradients(PREFERENCE, SCORES, SCORES + PREFERENCE)
    assert float(compiled(PREFERENCE, SCORES, SCORES + PREFERENCE)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1}, "`beta` must be a finite number above 0.*beta=-1"),
        ({"preference": np.zeros((1, 3))}, r"`preference` must have shape.*\(1, 3\)"),
        ({"reduction": "max"}, "`reduction` must be one of"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_dpo_loss(**{"preference": PREFERENCE, "scores": SCORES, **options})
