"""The losses as `keras.losses.Loss`es: in `compile`, from a file, with masks and weights."""

import keras
import numpy as np
import pytest

from easq_keras.losses import (
    DenseDPOLoss,
    DPOLoss,
    PairLoss,
    PairwiseLogisticLoss,
    dense_dpo_loss,
    dpo_loss,
    pairwise_logistic_loss,
)

LABELS = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
SCORES = np.array([[0.4, 0.1, 5.0], [0.3, -0.5, 0.9]])
OTHER = np.array([[-0.2, 0.6, 3.0], [0.8, 0.3, -0.4]])
MASK = np.array([[1, 1, 0], [1, 1, 0]])
BIG_GROUPS = np.array([2**53 + 1, 2**53])  # one and the same as floats


def test_each_computes_what_its_function_does() -> None:
    cases = [
        (
            PairwiseLogisticLoss(temperature=2.0, reduction="sum"),
            {"labels": LABELS, "mask": MASK, "groups": BIG_GROUPS},
            pairwise_logistic_loss(
                LABELS, SCORES, mask=MASK, groups=BIG_GROUPS, temperature=2.0, reduction="sum"
            ),
        ),
        (
            DPOLoss(beta=0.5, label_smoothing=0.1, log_prob="log_sigmoid", reference_floor=True),
            {"labels": LABELS, "reference_scores": OTHER, "weights": np.abs(OTHER)},
            dpo_loss(
                LABELS,
                SCORES,
                OTHER,
                beta=0.5,
                label_smoothing=0.1,
                log_prob="log_sigmoid",
                reference_floor=True,
                weights=np.abs(OTHER),
            ),
        ),
        (
            DenseDPOLoss(beta=0.5),
            {"preference": OTHER, "reference_scores": LABELS, "mask": MASK, "num_pairs": 3.0},
            dense_dpo_loss(OTHER, SCORES, LABELS, beta=0.5, mask=MASK, num_pairs=3.0),
        ),
    ]
    for loss, targets, expected in cases:
        assert float(loss(targets, SCORES)) == float(expected)


@pytest.mark.parametrize(
    "loss",
    [
        PairwiseLogisticLoss(temperature=2.0, reduction="sum", name="bpr"),
        DPOLoss(0.5, "ipo", log_prob="log_softplus", reference_floor=True),
        DPOLoss(0.5, label_smoothing=0.25),
        DenseDPOLoss(beta=3.0, reduction="sum"),
    ],
)
def test_a_loss_survives_serialisation(loss: PairLoss) -> None:
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert float(again(LABELS, SCORES)) == float(loss(LABELS, SCORES))


def test_the_targets_may_be_a_plain_tensor() -> None:
    assert float(DPOLoss()(LABELS, SCORES)) == float(dpo_loss(LABELS, SCORES))


def test_trains_through_compile_and_fit() -> None:
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.Dense(1), keras.layers.Reshape((3,))]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.3), loss=PairwiseLogisticLoss())
    x = np.random.default_rng(0).normal(size=(32, 3, 2))
    labels = (x[..., 0] > 0).astype(float)
    history = model.fit(x, labels, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


def test_fit_passes_sample_weights_on() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(1.0)])
    model.compile(loss=PairwiseLogisticLoss())
    weights = np.array([1.0, 3.0])
    by_row = [float(pairwise_logistic_loss(LABELS[r : r + 1], SCORES[r : r + 1])) for r in (0, 1)]
    # One pair in the first row, three in the second.
    expected = (by_row[0] + 3 * 3 * by_row[1]) / (1 + 3 * 3)
    result = model.evaluate(SCORES, LABELS, sample_weight=weights, verbose=0)
    assert result == pytest.approx(expected, rel=1e-5)


def test_item_weights_multiply() -> None:
    weights = np.array([[0.5, 2.0, 1.0], [1.0, 0.0, 3.0]])
    expected = pairwise_logistic_loss(LABELS, SCORES, weights=weights)
    assert float(PairwiseLogisticLoss()(LABELS, SCORES, weights)) == float(expected)


def test_the_mask_that_keras_carries_counts_with_that_of_the_targets() -> None:
    scores = keras.ops.convert_to_tensor(SCORES)
    scores._keras_mask = np.array([[True, True, True], [False, True, True]])
    both = np.array([[1, 1, 0], [0, 1, 0]])
    loss = PairwiseLogisticLoss()
    expected = pairwise_logistic_loss(LABELS, SCORES, mask=both)
    assert float(loss({"labels": LABELS, "mask": MASK}, scores)) == float(expected)
    alone = pairwise_logistic_loss(LABELS, SCORES, mask=scores._keras_mask)
    assert float(loss(LABELS, scores)) == float(alone)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairwiseLogisticLoss(temperature=-1), "`temperature`.*-1"),
        (lambda: PairwiseLogisticLoss(reduction="none"), "`reduction` must be one of.*'none'"),
        (lambda: DPOLoss(beta=0), "`beta`.*beta=0"),
        (lambda: DPOLoss(loss_type="x"), "`loss_type`.*'x'"),
        (lambda: DPOLoss(log_prob="x"), "`log_prob`.*'x'"),
        (lambda: DenseDPOLoss(beta=None), "`beta`.*None"),
        (
            lambda: DPOLoss()({"labels": LABELS, "reference": OTHER}, SCORES),
            r"takes the keys \['labels', 'reference_scores'.*Received: \['labels', 'reference'\]",
        ),
        (lambda: DenseDPOLoss()({"mask": MASK}, SCORES), "'preference' is required"),
        (lambda: DenseDPOLoss()(OTHER, SCORES, np.ones(2)), "sample_weight"),
        (
            lambda: DPOLoss()({"labels": LABELS, "weights": OTHER}, SCORES, np.ones(2)),
            "sample_weight",
        ),
    ],
)
def test_what_is_wrong_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
