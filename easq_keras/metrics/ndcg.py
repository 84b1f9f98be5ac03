"""Normalised discounted cumulative gain at k, averaged over users."""

from typing import Any

import keras
import numpy as np

from easq_keras.arguments import positive_int
from easq_keras.metrics.user_metric import Floats, Ints, UserMetric, ranks, undefined_without


@keras.saving.register_keras_serializable(package="easq_keras")
class NDCG(UserMetric):
    """NDCG@k: `Σ label / log2(1 + rank)` over the k highest scores, over the best such sum.

    The gain is the label itself (0 for an unlabelled candidate). Over users with a relevant
    candidate; see `UserMetric` for lists, ties and state.

    Args:
        k: Length of the head of the list.
        name: Defaults to `"ndcg_at_k"` with the number for k.
        **kwargs: `include_unlabelled` of `UserMetric`, `dtype`.

    Examples:
        >>> metric = NDCG(k=5)
        >>> metric.update_state([[1, 0, -1]], [[2.0, 1.0, 3.0]], users=["ann"])
        >>> round(float(metric.result()), 4)  # second of three: 1 / log2(3)
        0.6309
    """

    def __init__(self, k: int, name: str | None = None, **kwargs: Any) -> None:
        self.k = positive_int("k", k)
        super().__init__(name=name or f"ndcg_at_{k}", **kwargs)

    def of_lists(self, user: Ints, labels: Floats, scores: Floats) -> Floats:
        """Returns a number in [0, 1] a user, NaN without a relevant candidate."""
        gains = np.maximum(labels, 0.0)
        got = self._discounted(user, gains, ranks(user, labels, scores))
        best = self._discounted(user, gains, ranks(user, labels, gains))
        return undefined_without(best > 0, got / np.where(best > 0, best, 1.0))

    def _discounted(self, user: Ints, gains: Floats, rank: Ints) -> Floats:
        shares = np.where(rank <= self.k, gains / np.log2(1.0 + rank), 0.0)
        return np.bincount(user, weights=shares).astype(np.float64)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "k": self.k}
