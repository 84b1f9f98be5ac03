"""How busy the experts of a router are over an epoch."""

from typing import Any

import keras
from keras import ops

from easq_keras.arguments import positive_int
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class RouterActivity(keras.metrics.Metric):
    """Activity of a router's experts over all batches since the last reset.

    `result` is a dictionary: `"share_active"`, the share of open gates; `"dead_experts"`, the
    number of experts that no candidate of any batch opened; `"all_dead_candidates"`, the share of
    candidates without an open gate. `MixtureOfExperts.router_activity` gives the same for one
    batch.

    Args:
        num_experts: Number of routed experts.
        name: Defaults to `"router_activity"`.
        **kwargs: `dtype` of `keras.metrics.Metric`.

    Raises:
        ValueError: `num_experts` is no positive integer.

    Examples:
        >>> metric = RouterActivity(num_experts=2)
        >>> metric.update_state(np.array([[[0.3, 0.0], [0.0, 0.0]]]))
        >>> {name: float(value) for name, value in metric.result().items()}
        {'share_active': 0.25, 'dead_experts': 1.0, 'all_dead_candidates': 0.5}
    """

    def __init__(self, num_experts: int, name: str = "router_activity", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_experts = positive_int("num_experts", num_experts)
        self.opened = self.add_variable(shape=(num_experts,), initializer="zeros", name="opened")
        self.closed = self.add_variable(shape=(), initializer="zeros", name="closed")
        self.candidates = self.add_variable(shape=(), initializer="zeros", name="candidates")

    def update_state(self, gates: Tensor, mask: Tensor | None = None) -> None:
        """Adds the gates of a batch.

        Args:
            gates: `(..., num_experts)`, what `MixtureOfExperts.gates` returns.
            mask: `(...)`, 0 for candidates that do not count.
        """
        opened = ops.reshape(ops.convert_to_tensor(gates) > 0, (-1, self.num_experts))
        counts = ops.cast(ops.ones_like(opened[:, 0]), "bool")
        if mask is not None:
            counts = ops.reshape(ops.cast(mask, "bool"), (-1,))
        opened = ops.logical_and(opened, counts[:, None])
        closed = ops.logical_and(ops.logical_not(ops.any(opened, axis=-1)), counts)
        self.opened.assign_add(ops.sum(ops.cast(opened, self.dtype), axis=0))
        self.closed.assign_add(ops.sum(ops.cast(closed, self.dtype)))
        self.candidates.assign_add(ops.sum(ops.cast(counts, self.dtype)))

    def result(self) -> dict[str, Tensor]:
        """Returns the three numbers; before the first candidate 0, all experts and 0."""
        candidates = ops.maximum(self.candidates, 1.0)
        opened = ops.convert_to_tensor(self.opened)
        return {
            "share_active": ops.mean(opened) / candidates,
            "dead_experts": ops.sum(ops.cast(opened == 0, self.dtype)),
            "all_dead_candidates": self.closed / candidates,
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_experts": self.num_experts}
