"""What the training step reports, averaged over an epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from easq_keras.types import Tensor


class Diagnostics(keras.metrics.Metric):
    """Weighted means of many scalars, kept in two vectors.

    One `keras.metrics.Mean` a scalar would cost some thirty variables and as many small kernels a
    step.

    Args:
        names: Names of the scalars, in the order in which they are shown.
        **kwargs: `name`, `dtype` of `keras.metrics.Metric`.
    """

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**{"name": "diagnostics", **kwargs})
        self.names = tuple(names)
        shape = (len(self.names),)
        self.total = self.add_variable(shape=shape, initializer="zeros", name="total")
        self.count = self.add_variable(shape=shape, initializer="zeros", name="count")

    def update_state(self, values: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Adds one step.

        Args:
            values: One scalar for each of the names.
            weights: Weight of the step in the mean of a name; 1 for names it leaves out. With a
                weight of 0 the value may be anything.
        """
        value = ops.stack([ops.cast(values[name], self.dtype) for name in self.names])
        weight = ops.stack([ops.cast(weights.get(name, 1.0), self.dtype) for name in self.names])
        self.total.assign_add(ops.where(weight > 0, value * weight, ops.zeros_like(value)))
        self.count.assign_add(weight)

    def result(self) -> dict[str, Tensor]:
        """Returns the means by name, 0 where nothing was added."""
        means = self.total / ops.where(self.count > 0, self.count, ops.ones_like(self.count))
        return {name: means[index] for index, name in enumerate(self.names)}
