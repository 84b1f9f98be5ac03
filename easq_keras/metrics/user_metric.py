"""Metrics that are averaged over users, whose answers are spread over slates and batches."""

import abc
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from easq_keras.shapes import refuse_ragged
from easq_keras.types import Tensor

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class UserMetric(keras.metrics.Metric, abc.ABC):
    """Base of the metrics of one ranked list a user, averaged over users.

    A user answers a questionnaire here and there, so that his list is complete only when all
    batches have been seen, and no state of fixed size would do. The metric therefore keeps what
    it is shown in host memory, some 30 bytes a candidate: update it in a loop of your own, not by
    `compile`, and read `result` at the end.

    The list of a user is the union of the candidates of all his slates that have a label. A
    candidate without a label is in the list as one that is not relevant, which is how the EASQ
    paper's metrics read best, unless `include_unlabelled` is False.

    Equal scores are ranked with the less relevant first, so that a model which cannot tell its
    candidates apart earns nothing by the order they came in. A score that is NaN ranks last.

    Args:
        include_unlabelled: Whether candidates with a label below 0 are in the list, provided that
            another candidate of the slate has one. Defaults to True.
        **kwargs: `name`, `dtype` of `keras.metrics.Metric`.

    Examples:
        >>> class BestScoredLabel(UserMetric):
        ...     def of_lists(self, user, labels, scores):
        ...         first = ranks(user, labels, scores) == 1
        ...         return labels[first][np.argsort(user[first])]
        >>> metric = BestScoredLabel()
        >>> metric.update_state([[2, 0], [1, 0]], [[1.0, 0.5], [0.2, 0.1]], users=["ann", "bob"])
        >>> float(metric.result())
        1.5
    """

    def __init__(self, include_unlabelled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_unlabelled = bool(include_unlabelled)
        self._users: list[NDArray[Any]] = []
        self._labels: list[Floats] = []
        self._scores: list[Floats] = []

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        *,
        users: Tensor,
        mask: Tensor | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            y_true: Labels, `(batch, slate)`; above 0 is relevant, 0 is not, below 0 or NaN is
                unlabelled.
            y_pred: Scores, `(batch, slate)`.
            users: `(batch,)`, whose slate it is: integers or strings. Give request ids to average
                over slates.
            mask: `(batch, slate)`, 0 for padding.

        Raises:
            ValueError: A shape differs, or a tensor is ragged.
            RuntimeError: Called within a compiled step.
        """
        for name, tensor in (("y_true", y_true), ("y_pred", y_pred)):
            refuse_ragged(name, tensor)
        labels, scores = _on_host(y_true, np.float64), _on_host(y_pred, np.float64)
        owners = _on_host(users)
        real = np.ones(scores.shape, bool) if mask is None else _on_host(mask).astype(bool)
        if not (labels.ndim == 2 and labels.shape == scores.shape == real.shape):
            raise ValueError(
                "Labels, scores and mask must have one shape (batch, slate). Received: "
                f"{labels.shape}, {scores.shape} and {real.shape}."
            )
        if owners.shape != labels.shape[:1]:
            raise ValueError(
                f"`users` must have shape (batch,), {labels.shape[:1]}. Received: {owners.shape}."
            )
        labelled = real & (labels >= 0)
        listed = real & labelled.any(axis=1, keepdims=True)
        if not self.include_unlabelled:
            listed = labelled
        self._users.append(np.broadcast_to(owners[:, None], labels.shape)[listed])
        self._labels.append(np.where(labelled, labels, -1.0)[listed])
        self._scores.append(
            np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)[listed]
        )

    def result(self) -> Tensor:
        """Returns the mean over the users for whom the metric is defined, NaN if there is none."""
        values = self.by_user()
        defined = values[~np.isnan(values)]
        mean = defined.mean() if defined.size else np.nan
        return ops.convert_to_tensor(mean, dtype=self.dtype)

    def by_user(self) -> Floats:
        """Returns the metric of each user, in the order of their ids; NaN where not defined."""
        if not sum(len(users) for users in self._users):
            return np.empty(0)
        _, user = np.unique(np.concatenate(self._users), return_inverse=True)
        return self.of_lists(
            user.astype(np.int64), np.concatenate(self._labels), np.concatenate(self._scores)
        )

    @abc.abstractmethod
    def of_lists(self, user: Ints, labels: Floats, scores: Floats) -> Floats:
        """Returns the metric of each list, NaN where it is not defined.

        Args:
            user: Number of the list that each candidate is in, 0, 1, …, in any order.
            labels: Their labels, −1 for none.
            scores: Their scores, never NaN.
        """

    def reset_state(self) -> None:
        """Forgets all batches."""
        for kept in (self._users, self._labels, self._scores):
            kept.clear()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "include_unlabelled": self.include_unlabelled}


def ranks(user: Ints, labels: Floats, scores: Floats) -> Ints:
    """Returns the rank of each candidate in its list, 1 for the highest score.

    Args:
        user: Number of the list.
        labels: Among equal scores the lower label ranks first.
        scores: The higher ranks first.
    """
    order = np.lexsort((labels, -scores, user))
    sizes = np.bincount(user)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(user), np.int64)
    rank[order] = np.arange(len(user)) - starts[user[order]] + 1
    return rank


def undefined_without(defined: NDArray[np.bool_], values: Floats) -> Floats:
    """Returns `values` with NaN where not `defined`."""
    return np.where(defined, values, np.nan)


def _on_host(tensor: Tensor, dtype: Any = None) -> NDArray[Any]:
    try:
        return np.asarray(ops.convert_to_numpy(tensor), dtype)
    except NotImplementedError as error:  # of a symbolic tensor
        raise RuntimeError(
            "A metric over users keeps what it has seen in host memory and cannot be updated "
            "within a compiled step: predict first, then call `update_state`."
        ) from error
