"""Hit rate at k, averaged over users."""

from typing import Any

import keras
import numpy as np

from easq_keras.arguments import positive_int
from easq_keras.metrics.user_metric import Floats, Ints, UserMetric, ranks, undefined_without


@keras.saving.register_keras_serializable(package="easq_keras")
class HitRate(UserMetric):
    """HR@k: share of users with a relevant candidate among the k highest scores.

    Over users with a relevant candidate; see `UserMetric` for lists, ties and state.

    Args:
        k: Length of the head of the list.
        name: Defaults to `"hit_rate_at_k"` with the number for k.
        **kwargs: `include_unlabelled` of `UserMetric`, `dtype`.

    Examples:
        >>> metric = HitRate(k=1)
        >>> metric.update_state([[1, 0, -1]], [[2.0, 1.0, 3.0]], users=[7])
        >>> metric.update_state([[1, -1, -1]], [[5.0, 1.0, 2.0]], users=[7])
        >>> metric.update_state([[0, 1, -1]], [[5.0, 1.0, 2.0]], users=[8])
        >>> float(metric.result())
        0.5
    """

    def __init__(self, k: int, name: str | None = None, **kwargs: Any) -> None:
        self.k = positive_int("k", k)
        super().__init__(name=name or f"hit_rate_at_{k}", **kwargs)

    def of_lists(self, user: Ints, labels: Floats, scores: Floats) -> Floats:
        """Returns 1 or 0 a user, NaN without a relevant candidate."""
        relevant = labels > 0
        users = user.max() + 1
        hits = np.bincount(
            user[relevant & (ranks(user, labels, scores) <= self.k)], minlength=users
        )
        some = np.bincount(user[relevant], minlength=users) > 0
        return undefined_without(some, (hits > 0).astype(np.float64))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "k": self.k}
