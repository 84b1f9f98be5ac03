"""Eq. 16: −log σ(β [log π/π_ref(x+) − log π/π_ref(x−)]), and its relatives."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.losses import dpo_loss, pairwise_logistic_loss
from tests.easq_keras.losses.numpy_losses import equation_16, gradient_by_differences
from tests.easq_keras.losses.strategies import Batch, batches

OPTIONS = [
    {"beta": 0.1},
    {"beta": 2.0},
    {"beta": 1.5, "reference_floor": True},
    {"beta": 1.5, "label_smoothing": 0.2},
    {"beta": 0.7, "loss_type": "ipo"},
    {"beta": 0.7, "loss_type": "ipo", "reference_floor": True},
    {"beta": 1.5, "loss_type": "sdpo"},
    {"beta": 1.5, "loss_type": "sdpo", "reference_floor": True},
]
ANSWERS = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]])
SCORES = np.array([[0.4, 0.1, 5.0], [0.3, -0.5, 0.9]])
REFERENCE = np.array([[-0.2, 0.6, 3.0], [0.8, 0.3, -0.4]])


def with_gradients(answers, scores, reference, **options) -> tuple[float, np.ndarray, np.ndarray]:
    scores, reference = tf.constant(scores), tf.constant(reference)
    with tf.GradientTape() as tape:
        tape.watch([scores, reference])
        loss = dpo_loss(answers, scores, reference, **options)
    of_scores, of_reference = tape.gradient(
        loss, [scores, reference], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return float(loss), of_scores.numpy(), of_reference.numpy()


def test_a_pair_worked_out_by_hand() -> None:
    loss, gradient, _ = with_gradients([[1.0, 0.0]], [[2.0, 1.0]], [[0.5, 1.5]], beta=0.5)
    # u = (2 − 1) − (0.5 − 1.5) = 2; −log σ(1) = 0.313262; the pull is 0.5 · σ(−1) = 0.134471.
    assert loss == pytest.approx(0.313262, abs=1e-6)
    np.testing.assert_allclose(gradient, [[-0.134471, 0.134471]], atol=1e-6)


@settings(max_examples=50)
@given(batch=batches(), grouped=st.booleans(), options=st.sampled_from(OPTIONS))
def test_value_and_gradient_are_those_of_the_equation(
    batch: Batch, grouped: bool, options: dict
) -> None:
    groups = batch.groups if grouped else None
    arguments = (batch.labels, batch.mask, groups)

    def equation(scores: np.ndarray) -> float:
        return equation_16(scores, batch.reference, *arguments, **options)

    loss, gradient, of_reference = with_gradients(
        batch.labels, batch.scores, batch.reference, mask=batch.mask, groups=groups, **options
    )
    assert loss == pytest.approx(equation(batch.scores), abs=1e-8)
    np.testing.assert_allclose(gradient, gradient_by_differences(equation, batch.scores), atol=1e-7)
    assert not np.any(of_reference)


@pytest.mark.parametrize("groups", [None, np.array([3, 3])])
def test_is_the_pairwise_logistic_loss_of_score_minus_reference(groups) -> None:
    loss = dpo_loss(ANSWERS, SCORES, REFERENCE, beta=0.25, groups=groups)
    same = pairwise_logistic_loss(ANSWERS, SCORES - REFERENCE, temperature=4.0, groups=groups)
    assert float(loss) == pytest.approx(float(same), rel=1e-12)


def test_without_a_reference_its_margin_is_0() -> None:
    with_zeros, _, _ = with_gradients(ANSWERS, SCORES, np.zeros_like(SCORES))
    assert float(dpo_loss(ANSWERS, SCORES)) == pytest.approx(with_zeros, rel=1e-12)


def test_a_reference_to_itself_is_a_constant_push() -> None:
    """Eq. 16 as printed: value log 2 and pull β/2, whatever the scores."""
    loss, gradient, of_reference = with_gradients(
        [[1.0, 0.0]], [[7.0, -3.0]], [[7.0, -3.0]], beta=0.3
    )
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[-0.15, 0.15]])
    assert not np.any(of_reference)


def test_the_floor_keeps_a_mistaken_reference_from_ending_the_pull() -> None:
    mistaken = [[-5.0, 5.0]]
    _, faded, _ = with_gradients([[1.0, 0.0]], [[-1.0, 1.0]], mistaken, beta=1.0)
    _, kept, _ = with_gradients(
        [[1.0, 0.0]], [[-1.0, 1.0]], mistaken, beta=1.0, reference_floor=True
    )
    assert abs(faded[0, 0]) == pytest.approx(1 / (1 + np.exp(8.0)))  # u = −2 + 10
    assert abs(kept[0, 0]) == pytest.approx(1 / (1 + np.exp(-2.0)))  # u = −2


def test_one_loser_makes_sdpo_dpo() -> None:
    pair, scores, reference = np.array([[1.0, 0.0]]), SCORES[:1, :2], REFERENCE[:1, :2]
    both = [
        with_gradients(pair, scores, reference, beta=0.8, loss_type=name)
        for name in ("dpo", "sdpo")
    ]
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-12)
    np.testing.assert_allclose(both[0][1], both[1][1], rtol=1e-12)


@pytest.mark.parametrize("groups", [None, np.array([0])])
def test_sdpo_weighs_odds_by_the_loser_and_losses_by_the_winner(groups) -> None:
    labels, scores = np.array([[2.0, 1.0, 0.0]]), np.array([[0.1, 0.7, 0.4]])
    weights = np.array([[2.0, 0.5, 3.0]])
    loss = dpo_loss(
        labels, scores, beta=1.0, loss_type="sdpo", weights=weights, groups=groups, reduction="sum"
    )
    first = 2.0 * np.log1p(0.5 * np.exp(0.6) + 3.0 * np.exp(0.3))
    second = 0.5 * np.log1p(3.0 * np.exp(-0.3))
    assert float(loss) == pytest.approx(first + second)


@pytest.mark.parametrize("loss_type", ["dpo", "ipo", "sdpo"])
@pytest.mark.parametrize("groups", [None, np.array([4, 4])])
class TestEveryLossType:
    def test_no_pair_gives_exactly_0(self, loss_type: str, groups) -> None:
        for answers in (np.full((2, 3), -1.0), np.ones((2, 3))):
            loss, gradient, _ = with_gradients(
                answers, SCORES, REFERENCE, loss_type=loss_type, groups=groups
            )
            assert loss == 0.0
            assert not np.any(gradient)

    def test_huge_scores_are_no_trouble(self, loss_type: str, groups) -> None:
        scores = np.array([[-1e4, 1e4, 0.0], [1e4, 0.0, -1e4]], "float32")
        loss, gradient, _ = with_gradients(
            ANSWERS, scores, -scores, beta=1.0, loss_type=loss_type, groups=groups
        )
        assert np.isfinite(loss)
        assert np.all(np.isfinite(gradient))

    def test_a_nan_reaches_the_loss_from_answered_items_only(self, loss_type: str, groups) -> None:
        options = {"loss_type": loss_type, "groups": groups}
        clean, _, _ = with_gradients(ANSWERS, SCORES, REFERENCE, **options)
        for where, spoils in (((0, 2), False), ((0, 0), True)):
            scores = SCORES.copy()
            scores[where] = np.nan
            loss, _, _ = with_gradients(ANSWERS, scores, REFERENCE, **options)
            assert np.isnan(loss) == spoils
            reference = REFERENCE.copy()
            reference[where] = np.nan
            loss, _, _ = with_gradients(ANSWERS, SCORES, reference, **options)
            assert np.isnan(loss) if spoils else loss == clean

    def test_compiled_it_computes_the_same(self, loss_type: str, groups) -> None:
        @tf.function(jit_compile=True)
        def compiled(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(scores)
                loss = dpo_loss(ANSWERS, scores, REFERENCE, loss_type=loss_type, groups=groups)
            return loss, tape.gradient(loss, scores)

        loss, gradient = compiled(tf.constant(SCORES))
        expected, expected_gradient, _ = with_gradients(
            ANSWERS, SCORES, REFERENCE, loss_type=loss_type, groups=groups
        )
        assert float(loss) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9)


class TestReadingsOfAScore:
    def test_log_softmax_is_the_score_within_a_slate(self) -> None:
        mask = np.array([[1, 1, 0], [1, 1, 1]])
        plain = with_gradients(ANSWERS, SCORES, REFERENCE, mask=mask, beta=1.0)
        softmax = with_gradients(
            ANSWERS, SCORES, REFERENCE, mask=mask, beta=1.0, log_prob="log_softmax"
        )
        assert softmax[0] == pytest.approx(plain[0], rel=1e-12)
        np.testing.assert_allclose(softmax[1], plain[1], atol=1e-12)

    def test_across_slates_log_softmax_keeps_the_partition_functions(self) -> None:
        answers = np.array([[1.0, -1.0], [0.0, -1.0]])
        scores = np.array([[0.5, 1.0], [0.2, -2.0]])
        options = {"beta": 1.0, "groups": np.array([1, 1])}
        loss = dpo_loss(answers, scores, log_prob="log_softmax", **options)
        by_slate = scores[:, 0] - np.log(np.exp(scores).sum(axis=1))
        assert float(loss) == pytest.approx(np.log1p(np.exp(by_slate[1] - by_slate[0])))

    def test_padding_is_no_part_of_the_softmax(self) -> None:
        answers, mask = np.array([[1.0, 0.0, -1.0]]), np.array([[1, 1, 0]])
        losses = {
            float(dpo_loss(answers, [[0.5, 0.2, x]], mask=mask, log_prob="log_softmax"))
            for x in (0.0, 50.0, np.nan)
        }
        assert len(losses) == 1
        nothing = dpo_loss(answers, SCORES[:1], mask=np.zeros((1, 3)), log_prob="log_softmax")
        assert float(nothing) == 0.0

    def test_log_sigmoid_reads_the_score_as_a_logit(self) -> None:
        loss = dpo_loss([[1.0, 0.0]], [[2.0, -1.0]], beta=1.0, log_prob="log_sigmoid")
        margin = -np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))
        assert float(loss) == pytest.approx(np.log1p(np.exp(-margin)))

    def test_log_softplus_reads_the_score_as_a_worth(self) -> None:
        loss = dpo_loss([[1.0, 0.0]], [[2.0, -1.0]], beta=1.0, log_prob="log_softplus")
        worth = np.log1p(np.exp([2.0, -1.0]))
        assert float(loss) == pytest.approx(np.log1p(worth[1] / worth[0]))

    @pytest.mark.parametrize("reading", ["log_sigmoid", "log_softplus", "log_softmax"])
    def test_every_reading_is_finite_for_huge_scores(self, reading: str) -> None:
        scores = np.array([[1e4, -1e4, 0.0], [-1e4, -30.0, -19.9]], "float32")
        loss, gradient, _ = with_gradients(ANSWERS, scores, -scores, log_prob=reading)
        assert np.isfinite(loss)
        assert np.all(np.isfinite(gradient))

    def test_log_softplus_is_smooth_where_it_turns_into_the_score(self) -> None:
        scores = np.array([[-19.999, -20.001]])
        _, gradient, _ = with_gradients(
            [[1.0, 0.0]], scores, 0 * scores, beta=1.0, log_prob="log_softplus"
        )
        np.testing.assert_allclose(gradient, [[-0.5, 0.5]], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "`beta` must be a finite number above 0.*beta=0"),
        ({"loss_type": "rlhf"}, "`loss_type` must be one of 'dpo', 'ipo', 'sdpo'.*'rlhf'"),
        ({"log_prob": "log"}, "`log_prob` must be one of 'score', .*'log'"),
        ({"label_smoothing": 0.5}, r"`label_smoothing` must lie in \[0, 0.5\).*=0.5"),
        ({"label_smoothing": -0.1}, "`label_smoothing` must be a finite number.*=-0.1"),
        ({"label_smoothing": 0.1, "loss_type": "ipo"}, "loss_type='dpo' only.*loss_type='ipo'"),
        ({"reference_scores": np.zeros((2, 2))}, r"`reference_scores` must have shape.*\(2, 2\)"),
        ({"reduction": None}, "`reduction` must be one of"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpo_loss(**{"labels": ANSWERS, "scores": SCORES, **options})
