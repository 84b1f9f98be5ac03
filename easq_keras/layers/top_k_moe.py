"""A mixture of experts with the Top-K softmax router."""

from typing import Any

import keras
from keras import ops

from easq_keras.arguments import positive_int
from easq_keras.layers.mixture_of_experts import MixtureOfExperts
from easq_keras.precision import accumulated
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class TopKMoE(MixtureOfExperts):
    """Mixture of experts with the Top-K softmax router, which EASQ compares `ReLUMoE` with.

    The gates are the softmax of the gate logits, all but the `top_k` largest cut to 0 (EASQ
    paper, section 4.4.1 and Figure 4). Every candidate opens exactly `top_k` experts; of equal
    logits the first wins.

    The auxiliary loss, off by default, is that of the Switch Transformer (arXiv 2101.03961):
    `E · Σ_e share_e · mean probability_e`, least when all experts are equally busy.

    Args:
        units: Width of the output.
        num_experts: Number of routed experts.
        hidden_dim: Width of an expert's hidden layer.
        top_k: Number of experts open for each candidate, at most `num_experts`.
        **kwargs: The other arguments of `MixtureOfExperts`.

    Input shape:
        `(..., d)`.

    Output shape:
        `(..., units)`.

    Raises:
        ValueError: As for `MixtureOfExperts`, or `top_k` is not in `[1, num_experts]`.

    Examples:
        >>> head = TopKMoE(units=1, num_experts=4, hidden_dim=8, top_k=2)
        >>> h = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
        >>> tuple(head(h).shape)
        (2, 5, 1)
        >>> np.sum(np.asarray(head.gates(h)) > 0, axis=-1)
        array([[2, 2, 2, 2, 2],
               [2, 2, 2, 2, 2]])
    """

    def __init__(
        self, units: int, num_experts: int, hidden_dim: int, top_k: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(units, num_experts, hidden_dim, **kwargs)
        self.top_k = positive_int("top_k", top_k)
        if top_k > num_experts:
            raise ValueError(
                "`top_k` cannot exceed `num_experts`. "
                f"Received: top_k={top_k}, num_experts={num_experts}."
            )

    def route(self, logits: Tensor) -> Tensor:
        """Softmax over all experts, cut to the `top_k` largest."""
        chosen = ops.top_k(logits, self.top_k)[1]
        kept = ops.sum(ops.one_hot(chosen, self.num_experts, dtype=logits.dtype), axis=-2)
        return ops.softmax(logits, axis=-1) * kept

    def router_aux_loss(self, logits: Tensor, gates: Tensor, mask: Tensor | None) -> Tensor:
        """Load balance of the Switch Transformer."""
        return self.load_balance(gates, ops.softmax(accumulated(logits), axis=-1), mask)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "top_k": self.top_k}
