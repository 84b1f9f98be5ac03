"""The terms of the training objective as plain functions of scores and labels.

Pairs of a slate are written as weights `(rows, slate, slate)`: `weights[b, i, j]` says how much
candidate i ought to stand above candidate j. Pairs of answers reach across rows and are left to
`easq_keras.losses`.
"""

from typing import NamedTuple

from keras import ops

from easq_keras.activations import softplus
from easq_keras.losses.pairs import Values, pair_sums
from easq_keras.models.training import at_least_one, mean_over_replicas
from easq_keras.types import Tensor

REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


class Slates(NamedTuple):
    """What the dense rows of a batch say.

    Attributes:
        shown: `(rows, slate)` booleans: the exposed candidates.
        preference: `(rows, slate, slate)`, B+ of Eq. 11.
        has_pairs: Whether B+ has any pair; boolean scalar.
        per_pair: 1 over the number of pairs of B+, or 0; scalar.
        ignored: Number of behaviour labels outside these rows, or on padding; scalar.
    """

    shown: Tensor
    preference: Tensor
    has_pairs: Tensor
    per_pair: Tensor
    ignored: Tensor


class Answers(NamedTuple):
    """What the answered rows of a batch say.

    Attributes:
        labels: `(rows, slate)`: 1 satisfied, 0 dissatisfied, or what lies between.
        valid: `(rows, slate)` booleans: where there is an answer.
        groups: `(rows,)` pair groups.
        ignored: Number of answers outside these rows, on padding or above 1; scalar.
    """

    labels: Tensor
    valid: Tensor
    groups: Tensor
    ignored: Tensor


def number(where: Tensor) -> Tensor:
    """Returns how often `where` is true, as a float32 scalar."""
    return ops.sum(ops.cast(where, "float32"))


def is_answer(answers: Tensor, mask: Tensor) -> Tensor:
    """Returns where there is an answer to learn: a real candidate labelled within [0, 1]."""
    return ops.logical_and(ops.logical_and(answers >= 0, answers <= 1), mask)


def exposed(levels: Tensor, mask: Tensor) -> Tensor:
    """Returns which candidates were exposed: real ones with a behaviour level of at least 0."""
    return ops.logical_and(levels >= 0, mask)


def centred(scores: Tensor, shown: Tensor) -> Tensor:
    """Returns the scores less their mean over the exposed candidates of the slate, 0 elsewhere."""
    weights = ops.cast(shown, scores.dtype)
    count = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
    known = ops.where(shown, scores, ops.zeros_like(scores))
    return (known - ops.sum(known, axis=-1, keepdims=True) / count) * weights


def spread(scores: Tensor, shown: Tensor) -> Tensor:
    """Returns the standard deviation within slates over the exposed candidates, a scalar.

    On several replicas, over the candidates of all.
    """
    count = at_least_one(mean_over_replicas(ops.sum(ops.cast(shown, scores.dtype))))
    return ops.sqrt(mean_over_replicas(ops.sum(ops.square(centred(scores, shown)))) / count)


def behaviour_preference(levels: Tensor, shown: Tensor) -> Tensor:
    """Returns B+ of Eq. 11 as weights `(rows, slate, slate)`: 1 where i's level is above j's."""
    both = ops.logical_and(shown[:, :, None], shown[:, None, :])
    above = ops.logical_and(both, levels[:, :, None] > levels[:, None, :])
    return ops.cast(above, "float32")


def probability_difference(logits: Tensor, shown: Tensor) -> Tensor:
    """Returns `2σ(zᵢ) − 2σ(zⱼ)` for pairs of exposed candidates, `(rows, slate, slate)`.

    Args:
        logits: z, `(rows, slate)`.
        shown: `(rows, slate)` booleans.
    """
    probability = 2.0 * ops.sigmoid(logits)
    both = ops.logical_and(shown[:, :, None], shown[:, None, :])
    return (probability[:, :, None] - probability[:, None, :]) * ops.cast(both, "float32")


def shaped_preference(behaviour: Tensor, satisfaction: Tensor, shaping: Tensor | float) -> Tensor:
    """Returns B+ with the levels shaped by satisfaction, `(rows, slate, slate)`.

    The weight of a pair is `[sign(yᵢ − yⱼ) + η(2σ(s̃ᵢ) − 2σ(s̃ⱼ))]₊`: one step of behaviour
    against η steps of satisfaction. With η = 0 it is Eq. 11; as η grows, pairs that behaviour
    leaves open are ordered by satisfaction, and pairs on which the two disagree lose weight until
    they turn round. Only the order of the levels counts, as in Eq. 11.

    Args:
        behaviour: Weights of `behaviour_preference`.
        satisfaction: `2σ(s̃ᵢ) − 2σ(s̃ⱼ)`.
        shaping: η.
    """
    signed = behaviour - ops.swapaxes(behaviour, -1, -2)
    return ops.relu(signed + shaping * satisfaction)


def pair_loss(
    weights: Tensor, scores: Tensor, *, beta: Tensor | float = 1.0, reference: Tensor | None = None
) -> Tensor:
    """Returns `Σ wᵢⱼ · −log σ(β[(fᵢ − fⱼ) − (rᵢ − rⱼ)])`, a scalar.

    With weights 0 and 1, β = 1 and no reference this is Eq. 11; with a reference it is Eq. 16, the
    scores read as log-probabilities, whose partition function cancels in the difference.

    Args:
        weights: `(rows, slate, slate)`, at least 0.
        scores: `(rows, slate)`.
        beta: Temperature.
        reference: `(rows, slate)` scores of π_ref; never gets a gradient.
    """
    worth = scores if reference is None else scores - ops.stop_gradient(reference)
    margins = beta * (worth[:, :, None] - worth[:, None, :])
    # Where no pair is, a score may be anything: the loss there must have no gradient, not 0 · inf.
    margins = ops.where(weights > 0, margins, ops.zeros_like(margins))
    return ops.sum(weights * softplus(-margins))


def answer_loss(answers: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    """Returns the sum over answers of the cross entropy of ŝ as the logit of "satisfied".

    Args:
        answers: `(rows, slate)`, 1 satisfied, 0 dissatisfied; between them the share of people
            who would be satisfied.
        scores: `(rows, slate)`.
        valid: `(rows, slate)` booleans: where there is an answer.
    """
    logits = ops.where(valid, scores, ops.zeros_like(scores))
    targets = ops.where(valid, answers, ops.zeros_like(answers))
    entropy = softplus(logits) - targets * logits
    return ops.sum(entropy * ops.cast(valid, scores.dtype))


def slate_rewards(weights: Tensor, reward: Tensor) -> dict[str, Tensor]:
    """Returns the implicit rewards of DPO as weighted means over the pairs of the slates.

    Args:
        weights: `(rows, slate, slate)`, at least 0.
        reward: `(rows, slate)`: β(f − r).

    Returns:
        Scalars, 0 without a pair: `rewards/chosen`, `rewards/rejected`, `rewards/margins` (chosen
        less rejected) and `rewards/accuracies` (share of pairs with a margin above 0).
    """
    right = ops.cast(reward[:, :, None] > reward[:, None, :], "float32")
    return _reward_means(
        reward, ops.sum(weights, axis=2), ops.sum(weights, axis=1), ops.sum(weights * right)
    )


def answer_rewards(
    answers: Tensor, valid: Tensor, reward: Tensor, groups: Tensor
) -> dict[str, Tensor]:
    """Returns what `slate_rewards` does, over the pairs of answers of each group.

    Args:
        answers: `(rows, slate)`.
        valid: `(rows, slate)` booleans.
        reward: `(rows, slate)`: β(f − r).
        groups: `(rows,)`.
    """
    counted, right = pair_sums(
        [_one, _right], answers, valid, [reward, ops.ones_like(reward)], groups
    )
    return _reward_means(reward, counted.won, counted.lost, ops.sum(right.won))


def _one(winner: Values, loser: Values) -> Tensor:
    return winner[1] * loser[1]


def _right(winner: Values, loser: Values) -> Tensor:
    return ops.cast(winner[0] > loser[0], winner[0].dtype)


def _reward_means(reward: Tensor, won: Tensor, lost: Tensor, right: Tensor) -> dict[str, Tensor]:
    total = ops.sum(won)
    scale = 1.0 / ops.where(total > 0, total, ops.ones_like(total))
    chosen, rejected = ops.sum(won * reward) * scale, ops.sum(lost * reward) * scale
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": right * scale,
    }
