"""What the class forms of the pairwise losses share."""

import abc
from typing import Any

import keras
from keras import ops

from easq_keras.arguments import one_of
from easq_keras.losses.pairwise import REDUCTIONS
from easq_keras.precision import accumulated
from easq_keras.types import Tensor


class PairLoss(keras.losses.Loss, abc.ABC):
    """Base of `keras.losses.Loss`es over pairs, for `compile` and loops of one's own.

    Unlike Keras's own losses these do not come as one number an example, for pairs may cross
    examples: `call` returns the reduced scalar.

    A subclass lists in `TARGETS` the keys that `y_true` may have beside the first, and computes
    the loss in `compute`.

    Args:
        reduction: `"mean"` over the pairs of the batch, or `"sum"`.
        **kwargs: `name`, `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: Dictionary of the targets, or the first of them alone, `(batch, slate)`.
        y_pred: `(batch, slate)`. A Keras mask that it carries is honoured.
        sample_weight: `(batch, slate)`, a pair counting as the product of its items' weights, or
            `(batch,)`, a pair counting as the geometric mean of its rows' weights (so as the
            row's weight if the pair lies within one).

    Raises:
        ValueError: An option is out of range, or `y_true` has an unknown key or lacks the first.

    Examples:
        >>> from easq_keras.losses import pairwise_logistic_loss
        >>> class DoubledLoss(PairLoss):
        ...     def call(self, y_true, y_pred):
        ...         return 2 * pairwise_logistic_loss(scores=y_pred, **y_true)
        >>> round(float(DoubledLoss()(np.array([[1, 0]]), np.array([[1.0, 1.0]]))), 4)
        1.3863
    """

    # Keys of `y_true`; the first is required.
    TARGETS: tuple[str, ...] = ("labels", "mask", "groups", "weights")

    def __init__(self, reduction: str = "mean", **kwargs: Any) -> None:
        super().__init__(reduction=one_of("reduction", reduction, REDUCTIONS), **kwargs)

    def __call__(self, y_true: Any, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Returns the loss, a scalar."""
        # Keras's own __call__ casts the targets to floats, which group numbers do not survive,
        # and multiplies by masks and weights, when pairs have been summed already.
        targets = dict(y_true) if isinstance(y_true, dict) else {self.TARGETS[0]: y_true}
        unknown = sorted(set(targets) - set(self.TARGETS))
        if unknown or self.TARGETS[0] not in targets:
            raise ValueError(
                f"`y_true` of {type(self).__name__} takes the keys {list(self.TARGETS)}, of which "
                f"{self.TARGETS[0]!r} is required. Received: {sorted(targets)}."
            )
        if sample_weight is not None:
            if "weights" not in self.TARGETS or "weights" in targets:
                raise ValueError(
                    f"{type(self).__name__} got `sample_weight`, which it takes only where "
                    "`y_true` may have 'weights' and has none."
                )
            targets["weights"] = _item_weights(sample_weight, y_pred)
        keras_mask = getattr(y_pred, "_keras_mask", None)
        if keras_mask is not None:
            mask = targets.get("mask", keras_mask)
            targets["mask"] = ops.logical_and(ops.cast(mask, "bool"), keras_mask)
        return self.call(targets, y_pred)

    @abc.abstractmethod
    def call(self, y_true: dict[str, Tensor], y_pred: Tensor) -> Tensor:
        """Returns the loss of the targets, a scalar."""


def _item_weights(sample_weight: Tensor, scores: Tensor) -> Tensor:
    weights = accumulated(sample_weight)
    if len(weights.shape) == 1:
        weights = ops.broadcast_to(ops.sqrt(weights)[:, None], ops.shape(scores))
    return weights
