"""A mixture of experts with the ReLU router."""

import keras
from keras import ops

from easq_keras.layers.mixture_of_experts import MixtureOfExperts
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class ReLUMoE(MixtureOfExperts):
    """Mixture of experts with the ReLU router: `y = Σ_e ReLU(W_gate h)_e · FFN_e(h)`.

    Eqs. 9, 10, 13 and 14 of the EASQ paper, exactly so with `router_norm=False`. Each candidate
    opens as many experts as its gates are positive; the gates are not normalised, and nothing
    about them is discrete, so that all of it trains by plain gradients.

    The auxiliary loss, off by default, is ReMoE's load-balanced L1 (arXiv 2412.14711):
    `E · Σ_e share_e · mean gate_e`, `share_e` being the (detached) share of candidates that open
    expert e. It closes gates, those of busy experts first.

    Arguments, call arguments and errors are those of `MixtureOfExperts`.

    Input shape:
        `(..., d)`.

    Output shape:
        `(..., units)`.

    Examples:
        >>> head = ReLUMoE(units=1, num_experts=4, hidden_dim=8, gate_bias_initializer="ones")
        >>> h = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
        >>> tuple(head(h).shape)
        (2, 5, 1)
        >>> sorted(head.router_activity(h))
        ['all_dead_candidates', 'dead_experts', 'share_active']
    """

    def route(self, logits: Tensor) -> Tensor:
        """Eq. 10: `ReLU(logits)`."""
        return ops.relu(logits)
