"""Pairwise logistic loss, also known as BPR, within slates or groups of slates."""

from typing import Any

import keras

from easq_keras.arguments import at_least
from easq_keras.losses.pair_loss import PairLoss
from easq_keras.losses.pairs import valid_items
from easq_keras.losses.pairwise import (
    Pairs,
    checked_scores,
    logistic,
    reduced,
    sum_over_pairs,
)
from easq_keras.types import Tensor


def pairwise_logistic_loss(
    labels: Tensor,
    scores: Tensor,
    *,
    mask: Tensor | None = None,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """`−log σ((y_i − y_j) / temperature)`, mean over the pairs with label i above label j.

    Eqs. 11 and 15 of the EASQ paper, which print the sum; the mean keeps the weight of a loss
    independent of how many pairs a batch happens to have.

    No pair gives 0 and a gradient of exactly 0. Finite for |scores| up to 1e4 and beyond. Scores
    that are NaN make the loss NaN where the item is labelled and not masked, and have no effect
    elsewhere. The gradient is of first order only.

    Args:
        labels: `(batch, slate)`; items with a label below 0 (or NaN) are ignored.
        scores: `(batch, slate)`.
        mask: `(batch, slate)`, 0 for items that are ignored.
        groups: `(batch,)` integers; rows that share a number of at least 0 form one group, in
            which pairs form across rows. A row with a negative number is a group of its own, as
            is every row by default.
        weights: `(batch, slate)`, at least 0; a pair counts as the product of its items' weights
            and the mean is taken over the sum of these products.
        temperature: Above 0.
        reduction: `"mean"` over all pairs of the batch, or `"sum"`.

    Returns:
        A float32 scalar (float64 for float64 scores).

    Raises:
        ValueError: A shape differs, or `temperature` or `reduction` is out of range.

    Examples:
        >>> labels = np.array([[2.0, 0.0, -1.0], [1.0, 1.0, 1.0]])
        >>> scores = np.array([[0.0, 0.0, 9.0], [3.0, 2.0, 1.0]])
        >>> round(float(pairwise_logistic_loss(labels, scores)), 4)
        0.6931
        >>> across = pairwise_logistic_loss(labels, scores, groups=np.array([7, 7]))
        >>> round(float(across), 4)  # the 2 also beats the ones, and they the 0
        1.0958
    """
    loss = logistic(1.0 / at_least("temperature", temperature, 0, strictly=True))
    scores = checked_scores(scores, labels=labels, mask=mask, weights=weights)
    pairs = Pairs(labels, valid_items(labels, mask), weights, groups)
    return reduced(*sum_over_pairs(pairs, scores, None, loss), reduction)


@keras.saving.register_keras_serializable(package="easq_keras")
class PairwiseLogisticLoss(PairLoss):
    """`pairwise_logistic_loss` as a `keras.losses.Loss`.

    `keras_rs.losses.PairwiseLogisticLoss` is its namesake without groups. It takes the mean over
    items and not over pairs, its gradient is 0 where two scores are equal (here it is ±½, so
    that ties can be broken), and a NaN in the padding makes it NaN.

    Args:
        temperature: See `pairwise_logistic_loss`.
        reduction: `"mean"` over the pairs of the batch, or `"sum"`.
        **kwargs: `name`, `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: Labels `(batch, slate)`, or a dictionary with `"labels"` and any of `"mask"`,
            `"groups"`, `"weights"`.
        y_pred: Scores, `(batch, slate)`.
        sample_weight: See `PairLoss`.

    Examples:
        >>> loss = PairwiseLogisticLoss()
        >>> round(float(loss(np.array([[1.0, 0.0, -1.0]]), np.array([[2.0, 1.0, 5.0]]))), 4)
        0.3133
    """

    def __init__(self, temperature: float = 1.0, reduction: str = "mean", **kwargs: Any) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.temperature = at_least("temperature", temperature, 0, strictly=True)

    def call(self, y_true: dict[str, Tensor], y_pred: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        return pairwise_logistic_loss(
            scores=y_pred, temperature=self.temperature, reduction=self.reduction, **y_true
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature}
