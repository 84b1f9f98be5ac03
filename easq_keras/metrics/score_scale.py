"""How far apart the scores of a slate lie."""

from typing import Any

import keras
from keras import ops

from easq_keras.precision import accumulated
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class ScoreScale(keras.metrics.Metric):
    """Standard deviation of the scores within their slates, over all candidates seen.

    Only differences within a slate rank anything, and DPO with a live reference can inflate them
    without bound: watch this for ŷ, and for ŝ too, which a strong weight decay can collapse to 0.

    Args:
        name: Defaults to `"score_scale"`.
        **kwargs: `dtype` of `keras.metrics.Metric`.

    Examples:
        >>> metric = ScoreScale()
        >>> scores = np.array([[1.0, 3.0, 0.0], [11.0, 13.0, 0.0]])
        >>> metric.update_state(scores, [[1, 1, 0], [1, 1, 0]])
        >>> float(metric.result())
        1.0
    """

    def __init__(self, name: str = "score_scale", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.squares = self.add_variable(shape=(), initializer="zeros", name="squares")
        self.candidates = self.add_variable(shape=(), initializer="zeros", name="candidates")

    def update_state(self, scores: Tensor, mask: Tensor | None = None) -> None:
        """Adds the scores of a batch.

        Args:
            scores: `(batch, slate)`.
            mask: `(batch, slate)`, 0 for candidates that do not count.
        """
        scores = accumulated(scores)
        real = ops.ones_like(scores) > 0 if mask is None else ops.cast(mask, "bool")
        weights = ops.cast(real, scores.dtype)
        number = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
        known = ops.where(real, scores, ops.zeros_like(scores))
        centred = (known - ops.sum(known, axis=-1, keepdims=True) / number) * weights
        self.squares.assign_add(ops.cast(ops.sum(ops.square(centred)), self.dtype))
        self.candidates.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def result(self) -> Tensor:
        """Returns the standard deviation, 0 before the first candidate."""
        return ops.sqrt(self.squares / ops.maximum(self.candidates, 1.0))
