"""Eqs. 11 and 15: −log sigmoid(y_i − y_j) over the pairs with label i above label j."""

import keras_rs
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.losses import count_pairs, pairwise_logistic_loss
from tests.easq_keras.losses.numpy_losses import equation_15, gradient_by_differences, pairs
from tests.easq_keras.losses.strategies import Batch, batches

RNG = np.random.default_rng(0)
LABELS = np.array([[2.0, 1.0, 0.0, -1.0], [1.0, 1.0, 0.0, 0.0]])
SCORES = np.array([[0.5, -0.3, 0.1, 9.0], [0.2, 0.8, -0.6, 0.2]])


def with_gradient(labels, scores, **options) -> tuple[float, np.ndarray]:
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = pairwise_logistic_loss(labels, scores, **options)
    return float(loss), tape.gradient(loss, scores).numpy()


def test_a_batch_worked_out_by_hand() -> None:
    labels = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
    scores = np.array([[1.0, 0.0, 7.0], [0.0, 2.0, 1.0]])
    # Margins 1; 2, 1, 1: log(1 + e^−1) = 0.31326 thrice, log(1 + e^−2) = 0.12693 once.
    loss, gradient = with_gradient(labels, scores)
    assert loss == pytest.approx((3 * 0.313262 + 0.126928) / 4, abs=1e-6)
    # Each pair pulls with sigmoid(−margin) / 4: 0.26894 / 4 and 0.11920 / 4.
    near, far = 0.268941 / 4, 0.119203 / 4
    expected = [[-near, near, 0.0], [near + far, -near - far, 0.0]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@settings(max_examples=25)
@given(batch=batches(), grouped=st.booleans())
def test_value_and_gradient_are_those_of_the_equation(batch: Batch, grouped: bool) -> None:
    groups = batch.groups if grouped else None
    arguments = (batch.labels, batch.mask, groups)
    loss, gradient = with_gradient(batch.labels, batch.scores, mask=batch.mask, groups=groups)
    assert loss == pytest.approx(equation_15(batch.scores, *arguments), abs=1e-9)
    differences = gradient_by_differences(lambda s: equation_15(s, *arguments), batch.scores)
    np.testing.assert_allclose(gradient, differences, atol=1e-8)
    assert float(count_pairs(*arguments)) == len(list(pairs(*arguments)))


def test_agrees_with_keras_rs_where_that_has_no_ties() -> None:
    labels, scores = RNG.integers(-1, 3, (6, 7)).astype("float32"), RNG.normal(size=(6, 7))
    ours = pairwise_logistic_loss(labels, scores, reduction="sum", temperature=0.5)
    theirs = keras_rs.losses.PairwiseLogisticLoss(temperature=0.5, reduction="sum")
    assert float(ours) == pytest.approx(float(theirs(labels, scores)), rel=1e-5)


def test_equal_scores_are_pulled_apart() -> None:
    """Where all gates are closed all scores are 0; a gradient of 0 would keep them there."""
    _, gradient = with_gradient([[1.0, 0.0]], [[0.0, 0.0]])
    np.testing.assert_allclose(gradient, [[-0.5, 0.5]])


@settings(max_examples=12)
@given(batch=batches(), shift=st.integers(-50, 50), grouped=st.booleans())
def test_a_shift_of_all_scores_of_a_group_changes_nothing(
    batch: Batch, shift: int, grouped: bool
) -> None:
    groups = batch.groups if grouped else None
    shifts = np.where(batch.groups == batch.groups[0], float(shift), 0.0)[:, None]
    if not grouped:
        shifts = shift * np.arange(len(batch.scores), dtype=float)[:, None]
    before = with_gradient(batch.labels, batch.scores, mask=batch.mask, groups=groups)
    after = with_gradient(batch.labels, batch.scores + shifts, mask=batch.mask, groups=groups)
    assert after[0] == pytest.approx(before[0], abs=1e-9)
    np.testing.assert_allclose(after[1], before[1], atol=1e-9)


@settings(max_examples=12)
@given(
    batch=batches(),
    junk=st.floats(allow_nan=True, allow_infinity=True),
    grouped=st.booleans(),
)
def test_what_padding_and_unlabelled_items_hold_never_matters(
    batch: Batch, junk: float, grouped: bool
) -> None:
    groups = batch.groups if grouped else None
    idle = (batch.mask == 0) | (batch.labels < 0)
    options = {"mask": batch.mask, "groups": groups}
    before = with_gradient(batch.labels, batch.scores, **options)
    after = with_gradient(batch.labels, np.where(idle, junk, batch.scores), **options)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])
    assert not np.any(after[1][idle])


@settings(max_examples=12)
@given(batch=batches())
def test_groups_know_nothing_of_each_other(batch: Batch) -> None:
    whole, gradient = with_gradient(
        batch.labels, batch.scores, groups=batch.groups, reduction="sum"
    )
    keys = [g if g >= 0 else -1 - row for row, g in enumerate(batch.groups)]
    parts = 0.0
    for key in set(keys):
        rows = [row for row, other in enumerate(keys) if other == key]
        part, part_gradient = with_gradient(
            batch.labels[rows], batch.scores[rows], groups=batch.groups[rows], reduction="sum"
        )
        parts += part
        np.testing.assert_allclose(gradient[rows], part_gradient, atol=1e-12)
    assert whole == pytest.approx(parts, abs=1e-9)


@settings(max_examples=12)
@given(batch=batches(), data=st.data(), grouped=st.booleans())
def test_the_order_of_rows_and_candidates_is_of_no_account(
    batch: Batch, data: st.DataObject, grouped: bool
) -> None:
    rows = data.draw(st.permutations(range(len(batch.scores))))
    columns = data.draw(st.permutations(range(batch.scores.shape[1])))
    groups = batch.groups if grouped else None
    loss, gradient = with_gradient(batch.labels, batch.scores, groups=groups)
    moved, moved_gradient = with_gradient(
        batch.labels[rows][:, columns],
        batch.scores[rows][:, columns],
        groups=batch.groups[rows] if grouped else None,
    )
    assert moved == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(moved_gradient, gradient[rows][:, columns], atol=1e-12)


def test_a_group_over_many_slates_is_one_long_slate() -> None:
    labels, scores = RNG.integers(-1, 3, (30, 10)).astype(float), RNG.normal(size=(30, 10))
    loss, gradient = with_gradient(labels, scores, groups=np.full(30, 5))
    long_loss, long_gradient = with_gradient(labels.reshape(1, -1), scores.reshape(1, -1))
    assert loss == pytest.approx(long_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, long_gradient.reshape(30, 10), atol=1e-12)


@pytest.mark.parametrize("groups", [None, np.array([0, 0])])
@pytest.mark.parametrize(
    ("labels", "mask"),
    [
        (np.full((2, 3), -1.0), None),
        (np.full((2, 3), np.nan), None),
        (np.ones((2, 3)), None),
        (np.array([[1.0, 0.0, -1.0]] * 2), np.array([[1, 0, 1]] * 2)),
        (np.array([[1.0, 0.0, -1.0]] * 2), np.zeros((2, 3))),
    ],
    ids=["no labels", "labels are NaN", "one level", "one level after masking", "all masked"],
)
def test_without_a_pair_loss_and_gradient_are_exactly_0(labels, mask, groups) -> None:
    loss, gradient = with_gradient(labels, RNG.normal(size=(2, 3)), mask=mask, groups=groups)
    assert loss == 0.0
    assert not np.any(gradient)


def test_a_slate_of_one_candidate_has_no_pair_of_its_own_but_may_have_one_with_another() -> None:
    labels, scores = np.array([[1.0], [0.0]]), np.array([[0.0], [0.0]])
    assert with_gradient(labels, scores)[0] == 0.0
    assert with_gradient(labels, scores, groups=np.array([3, 3]))[0] == pytest.approx(np.log(2))
    assert with_gradient(labels, scores, groups=np.array([-1, -1]))[0] == 0.0


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_batch_without_rows_or_width_has_no_pair(shape: tuple[int, int], grouped: bool) -> None:
    groups = np.zeros(shape[0], int) if grouped else None
    assert with_gradient(np.ones(shape), np.ones(shape), groups=groups)[0] == 0.0


@pytest.mark.parametrize("groups", [None, np.array([0])])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_scores_are_no_trouble(groups, dtype: str) -> None:
    scores = np.array([[-1e4, 1e4, 0.0]], dtype)
    loss, gradient = with_gradient(np.array([[2.0, 1.0, 0.0]], dtype), scores, groups=groups)
    # Margins −2e4, −1e4 and 1e4.
    assert loss == pytest.approx((2e4 + 1e4 + 0.0) / 3, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[-2.0, 1.0, 1.0]]) / 3, atol=1e-6)


@pytest.mark.parametrize("groups", [None, np.array([0])])
def test_a_nan_score_of_a_labelled_item_is_not_hidden(groups) -> None:
    loss, gradient = with_gradient([[1.0, 0.0, -1.0]], [[np.nan, 0.0, 1.0]], groups=groups)
    assert np.isnan(loss)
    assert np.isnan(gradient[0, 0])
    assert gradient[0, 2] == 0.0


def test_half_precision_scores_are_summed_in_full() -> None:
    labels = np.concatenate([np.ones((1, 200)), np.zeros((1, 200))], axis=1)
    scores = tf.zeros((1, 400), tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = pairwise_logistic_loss(labels, scores, reduction="sum")
    assert loss.dtype == tf.float32
    # 40,000 pairs: in float16 the sum would stop short of 2048 · log 2 and the count at 65,504.
    assert float(loss) == pytest.approx(40_000 * np.log(2), rel=1e-6)
    assert tape.gradient(loss, scores).dtype == tf.float16


def test_weights_multiply_within_a_pair_and_the_mean_is_weighted() -> None:
    labels, scores = np.array([[2.0, 1.0, 0.0]]), np.array([[0.3, 0.1, 0.5]])
    weights = np.array([[0.5, 2.0, 0.1]])
    pair = {
        (i, j): np.log1p(np.exp(-(scores[0, i] - scores[0, j])))
        for i, j in [(0, 1), (0, 2), (1, 2)]
    }
    total = 1.0 * pair[0, 1] + 0.05 * pair[0, 2] + 0.2 * pair[1, 2]
    for groups in (None, np.array([4])):
        options = {"weights": weights, "groups": groups}
        mean, _ = with_gradient(labels, scores, **options)
        assert mean == pytest.approx(total / 1.25)
        summed, _ = with_gradient(labels, scores, reduction="sum", **options)
        assert summed == pytest.approx(total)


def test_the_temperature_divides_the_margin() -> None:
    loss, _ = with_gradient([[1.0, 0.0]], [[3.0, 1.0]], temperature=4.0)
    assert loss == pytest.approx(np.log1p(np.exp(-0.5)))


@pytest.mark.parametrize("groups", [None, np.array([9, 9])])
def test_compiles_once_and_computes_the_same(groups) -> None:
    @tf.function(jit_compile=True)
    def compiled(labels: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = pairwise_logistic_loss(labels, scores, groups=groups)
        return loss, tape.gradient(loss, scores)

    for labels, scores in ((LABELS, SCORES), (LABELS[::-1], SCORES[::-1]), (-LABELS, SCORES)):
        loss, gradient = compiled(tf.constant(labels), tf.constant(scores))
        expected, expected_gradient = with_gradient(labels, scores, groups=groups)
        assert float(loss) == pytest.approx(expected, abs=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("groups", [False, True])
def test_unknown_batch_and_slate_sizes_are_no_hindrance(groups: bool) -> None:
    unknown = tf.TensorSpec((None, None), tf.float64)

    @tf.function(input_signature=[unknown, unknown, tf.TensorSpec((None,), tf.int64)])
    def traced(labels: tf.Tensor, scores: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return pairwise_logistic_loss(labels, scores, groups=number if groups else None)

    for rows in (2, 1):
        numbers = np.zeros(rows, np.int64)
        expected, _ = with_gradient(
            LABELS[:rows], SCORES[:rows], groups=numbers if groups else None
        )
        assert float(traced(LABELS[:rows], SCORES[:rows], numbers)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": np.zeros((2, 3))}, r"`labels` must have shape .*\(2, 3\), scores of shape"),
        ({"labels": np.zeros(4), "scores": np.zeros(4)}, r"`scores` must have shape.*\(4,\)"),
        ({"mask": np.ones((2, 5))}, r"`mask` must have shape.*\(2, 5\)"),
        ({"weights": np.ones(2)}, r"`weights` must have shape.*\(2,\)"),
        ({"groups": np.zeros(3, int)}, r"`groups` must have shape \(batch,\).*\(3,\)"),
        ({"scores": tf.ragged.constant([[1.0], [2.0, 3.0]])}, "`scores` is ragged. Pad the slates"),
        ({"labels": tf.ragged.constant([[1.0], [2.0, 3.0]])}, "`labels` is ragged"),
        ({"temperature": 0.0}, "`temperature` must be a finite number above 0.*=0.0"),
        ({"reduction": "none"}, "`reduction` must be one of 'mean', 'sum'.*='none'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairwise_logistic_loss(**{"labels": LABELS, "scores": SCORES, **options})
