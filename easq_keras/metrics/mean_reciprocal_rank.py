"""Reciprocal rank of the first hit, averaged over users."""

from typing import Any

import keras
import numpy as np

from easq_keras.metrics.user_metric import Floats, Ints, UserMetric, ranks, undefined_without


@keras.saving.register_keras_serializable(package="easq_keras")
class MeanReciprocalRank(UserMetric):
    """MRR: 1 over the rank of the highest-scored relevant candidate.

    Over users with a relevant candidate; see `UserMetric` for lists, ties and state.

    Args:
        name: Defaults to `"mean_reciprocal_rank"`.
        **kwargs: `include_unlabelled` of `UserMetric`, `dtype`.

    Examples:
        >>> metric = MeanReciprocalRank()
        >>> metric.update_state([[1, 1, -1]], [[2.0, 1.0, 3.0]], users=[7])
        >>> float(metric.result())
        0.5
    """

    def __init__(self, name: str = "mean_reciprocal_rank", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def of_lists(self, user: Ints, labels: Floats, scores: Floats) -> Floats:
        """Returns a number in (0, 1] a user, NaN without a relevant candidate."""
        relevant = labels > 0
        first = np.full(user.max() + 1, np.inf)
        np.minimum.at(first, user[relevant], ranks(user, labels, scores)[relevant])
        return undefined_without(np.isfinite(first), 1.0 / first)
