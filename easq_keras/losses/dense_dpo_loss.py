"""DPO between the exposed items of a slate, by a predicted preference."""

import operator
from typing import Any

import keras
from keras import ops

from easq_keras.arguments import at_least
from easq_keras.losses.pair_loss import PairLoss
from easq_keras.losses.pairwise import Pairs, checked_scores, logistic, reduced, sum_over_pairs
from easq_keras.types import Tensor


def dense_dpo_loss(
    preference: Tensor,
    scores: Tensor,
    reference_scores: Tensor | None = None,
    *,
    beta: float = 1.0,
    mask: Tensor | None = None,
    num_pairs: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """DPO on every pair of a slate, weighted by how much the one item is preferred.

    `Σ_ij [2σ(s̃_i) − 2σ(s̃_j)]₊ · −log σ(beta · ((ŷ_i − ŷ_j) − (ρ_i − ρ_j)))`, divided by
    `num_pairs`. Answers are too rare for most slates to hold two; the satisfaction head predicts
    them for every item, and this carries its order over to the scores.

    Neither the preference nor the reference gets a gradient. A slate whose preferences are equal
    or NaN, or that has fewer than two items, adds 0 with a gradient of exactly 0. Stability and
    NaN scores as for `pairwise_logistic_loss`.

    Args:
        preference: `(batch, slate)` logits s̃ of the predicted satisfaction, on the scale at which
            `σ` shall saturate.
        scores: `(batch, slate)`, ŷ, of the policy.
        reference_scores: `(batch, slate)`, ρ: a behaviour head's for an anchor to behaviour,
            or None for no reference.
        beta: How sharply the margin counts, above 0.
        mask: `(batch, slate)`, 1 for the items to pair: the exposed ones.
        num_pairs: Scalar to divide by, such as `count_pairs` of the main loss, so that the weight
            of an item's pull against that loss does not depend on the batch. Defaults to the
            number of pairs of masked-in items.
        reduction: `"mean"` over `num_pairs`, or `"sum"`.

    Returns:
        A float32 scalar (float64 for float64 scores).

    Raises:
        ValueError: A shape differs, or an option is out of range.

    Examples:
        >>> preference = np.array([[4.0, -4.0, 0.0]])
        >>> exposed = np.array([[1, 1, 0]])
        >>> loss = dense_dpo_loss(preference, np.zeros((1, 3)), mask=exposed)
        >>> round(float(loss), 4)  # 2 (σ(4) − σ(−4)) log 2
        1.3364
    """
    loss = logistic(at_least("beta", beta, 0, strictly=True))
    scores = checked_scores(
        scores, preference=preference, reference_scores=reference_scores, mask=mask
    )
    liking = 2.0 * ops.sigmoid(ops.cast(preference, scores.dtype))
    valid = ops.ones_like(scores) > 0 if mask is None else ops.cast(mask, "bool")
    pairs = Pairs(liking, valid, weights=liking)
    total, _ = sum_over_pairs(pairs, scores, reference_scores, loss, weigh=operator.sub)
    if num_pairs is None:
        items = ops.sum(ops.cast(valid, scores.dtype), axis=1)
        num_pairs = ops.sum(items * (items - 1.0)) / 2.0
    return reduced(total, ops.cast(num_pairs, scores.dtype), reduction)


@keras.saving.register_keras_serializable(package="easq_keras")
class DenseDPOLoss(PairLoss):
    """`dense_dpo_loss` as a `keras.losses.Loss`.

    Args:
        beta: See `dense_dpo_loss`.
        reduction: `"mean"` or `"sum"`.
        **kwargs: `name`, `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: Preferences `(batch, slate)`, or a dictionary with `"preference"` and any of
            `"reference_scores"`, `"mask"`, `"num_pairs"`.
        y_pred: Scores of the policy, `(batch, slate)`.

    Examples:
        >>> loss = DenseDPOLoss()
        >>> round(float(loss(np.array([[4.0, -4.0]]), np.zeros((1, 2)))), 4)
        1.3364
    """

    TARGETS = ("preference", "reference_scores", "mask", "num_pairs")

    def __init__(self, beta: float = 1.0, reduction: str = "mean", **kwargs: Any) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.beta = at_least("beta", beta, 0, strictly=True)

    def call(self, y_true: dict[str, Tensor], y_pred: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        return dense_dpo_loss(scores=y_pred, beta=self.beta, reduction=self.reduction, **y_true)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "beta": self.beta}
