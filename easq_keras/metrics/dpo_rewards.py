"""The implicit rewards that DPO training is watched by."""

from typing import Any

import keras
from keras import ops

from easq_keras.arguments import at_least
from easq_keras.losses.pairs import Values, pair_sums, valid_items
from easq_keras.losses.pairwise import checked_scores
from easq_keras.types import Tensor

NAMES = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


@keras.saving.register_keras_serializable(package="easq_keras")
class DPORewards(keras.metrics.Metric):
    """Means over pairs of the implicit rewards `beta · (score − reference)`.

    `result` is a dictionary: `"rewards/chosen"` and `"rewards/rejected"`, the mean reward of the
    pairs' winners and losers, `"rewards/margins"`, their difference, and `"rewards/accuracies"`,
    the share of pairs whose winner has the higher reward; all 0 before the first pair.

    Args:
        beta: Scale of the rewards, that of the loss. Defaults to 0.1.
        name: Defaults to `"dpo_rewards"`.
        **kwargs: `dtype` of `keras.metrics.Metric`.

    Raises:
        ValueError: `beta` is not above 0.

    Examples:
        >>> metric = DPORewards(beta=1.0)
        >>> metric.update_state([[1, 0]], [[3.0, 1.0]], reference_scores=[[0.5, 0.0]])
        >>> {name: float(value) for name, value in metric.result().items()}
        {'rewards/chosen': 2.5, 'rewards/rejected': 1.0, 'rewards/margins': 1.5, \
'rewards/accuracies': 1.0}
    """

    def __init__(self, beta: float = 0.1, name: str = "dpo_rewards", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.beta = at_least("beta", beta, 0, strictly=True)
        self.sums = self.add_variable(shape=(4,), initializer="zeros", name="sums")

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        *,
        reference_scores: Tensor | None = None,
        mask: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        """Adds the pairs of a batch.

        Args:
            y_true: Labels, `(batch, slate)`; below 0 is unlabelled.
            y_pred: Scores of the policy, `(batch, slate)`.
            reference_scores: Scores of the reference, `(batch, slate)`, or None for 0.
            mask: `(batch, slate)`, 0 for padding.
            groups: `(batch,)`; see `pairwise_logistic_loss`.
        """
        labels = ops.convert_to_tensor(y_true)
        rewards = checked_scores(
            y_pred, y_true=labels, reference_scores=reference_scores, mask=mask
        )
        if reference_scores is not None:
            rewards = rewards - ops.cast(reference_scores, rewards.dtype)
        rewards = ops.stop_gradient(self.beta * rewards)
        sums = pair_sums(
            [_chosen, _rejected, _right, _one],
            labels,
            valid_items(labels, mask),
            [rewards],
            groups,
        )
        self.sums.assign_add(ops.stack([ops.cast(ops.sum(term.won), self.dtype) for term in sums]))

    def result(self) -> dict[str, Tensor]:
        """Returns the four means."""
        chosen, rejected, right, pairs = ops.unstack(ops.convert_to_tensor(self.sums))
        pairs = ops.maximum(pairs, 1.0)
        means = (chosen, rejected, chosen - rejected, right)
        return {name: mean / pairs for name, mean in zip(NAMES, means, strict=True)}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "beta": self.beta}


def _chosen(winner: Values, loser: Values) -> Tensor:
    return winner[0] + ops.zeros_like(loser[0])


def _rejected(winner: Values, loser: Values) -> Tensor:
    return loser[0] + ops.zeros_like(winner[0])


def _right(winner: Values, loser: Values) -> Tensor:
    return ops.cast(winner[0] > loser[0], winner[0].dtype)


def _one(winner: Values, loser: Values) -> Tensor:
    return ops.ones_like(winner[0]) * ops.ones_like(loser[0])
