"""Share of answered pairs in the right order, averaged over users."""

from typing import Any

import keras
import numpy as np

from easq_keras.metrics.user_metric import Floats, Ints, UserMetric, undefined_without


@keras.saving.register_keras_serializable(package="easq_keras")
class PairAccuracy(UserMetric):
    """Share of a user's pairs with label i above label j that score i above j; a tie counts ½.

    The pairs are D+ of the EASQ paper's Eq. 15, across all slates of the user; candidates without
    a label form none. Over users with a pair; see `UserMetric` for the state.

    Args:
        name: Defaults to `"pair_accuracy"`.
        **kwargs: `dtype`.

    Examples:
        >>> metric = PairAccuracy()
        >>> metric.update_state([[1, -1], [0, 0]], [[2.0, 9.0], [2.0, 1.0]], users=[7, 7])
        >>> float(metric.result())  # a tie and a pair in order
        0.75
    """

    def __init__(self, name: str = "pair_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **{**kwargs, "include_unlabelled": False})

    def of_lists(self, user: Ints, labels: Floats, scores: Floats) -> Floats:
        """Returns a number in [0, 1] a user, NaN without a pair."""
        order = np.argsort(user, kind="stable")
        starts = np.flatnonzero(np.diff(user[order], prepend=-1))
        values = []
        for label, score in zip(
            np.split(labels[order], starts[1:]), np.split(scores[order], starts[1:]), strict=True
        ):
            wins = label[:, None] > label[None, :]
            above = score[:, None] > score[None, :]
            level = score[:, None] == score[None, :]
            values.append((wins & above).sum() + 0.5 * (wins & level).sum())
            values.append(wins.sum())
        right, pairs = np.reshape(values, (-1, 2)).T
        return undefined_without(pairs > 0, right / np.maximum(pairs, 1))
