"""The loss of ordered pairs, whatever it is of their margin: value, gradient, mean."""

import operator
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from keras import ops

from easq_keras.arguments import one_of
from easq_keras.losses.pairs import LOG_ZERO, Values, pair_sums
from easq_keras.precision import accumulated
from easq_keras.shapes import agree, refuse_ragged
from easq_keras.types import Tensor

REDUCTIONS = ("mean", "sum")

# A function of the margin, winner minus loser, elementwise.
OfMargin: TypeAlias = Callable[[Tensor], Tensor]
OfTwo: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class MarginLoss(NamedTuple):
    """A loss of the margin and its derivative."""

    value: OfMargin
    slope: OfMargin


class Pairs(NamedTuple):
    """Which items form pairs and how much a pair counts; the tensors are `(batch, slate)`."""

    labels: Tensor  # a higher one wins
    valid: Tensor  # booleans: the items that may form pairs
    weights: Tensor | None = None  # None: 1 each
    groups: Tensor | None = None  # (batch,); None: pairs within rows only


def logistic(scale: float, label_smoothing: float = 0.0) -> MarginLoss:
    """`−log σ(scale · margin)`, a share `label_smoothing` of it with the pair turned round.

    Args:
        scale: Above 0.
        label_smoothing: Probability that the label of the pair is wrong, in `[0, 0.5)`.
    """

    def value(margin: Tensor) -> Tensor:
        return ops.softplus(-scale * margin) + label_smoothing * scale * margin

    def slope(margin: Tensor) -> Tensor:
        return scale * (label_smoothing - ops.sigmoid(-scale * margin))

    return MarginLoss(value, slope)


def squared(target: float) -> MarginLoss:
    """`(margin − target)²`."""
    return MarginLoss(
        value=lambda margin: ops.square(margin - target),
        slope=lambda margin: 2.0 * (margin - target),
    )


def sum_over_pairs(
    pairs: Pairs,
    scores: Tensor,
    reference: Tensor | None,
    loss: MarginLoss,
    *,
    reference_floor: bool = False,
    weigh: OfTwo = operator.mul,
) -> tuple[Tensor, Tensor]:
    """Sums a loss of the margin `(y_i − y_j) − (r_i − r_j)` over all pairs.

    Args:
        pairs: Which items form pairs.
        scores: `(batch, slate)`, y; the gradient goes here.
        reference: `(batch, slate)`, r, or None for 0; never gets a gradient.
        loss: The loss of one pair.
        reference_floor: Take `max(0, r_i − r_j)` instead of `r_i − r_j`.
        weigh: How much a pair counts, from the weights of its winner and its loser.

    Returns:
        The sum, and the sum of what the pairs count (their number without weights); scalars.
    """
    values = _values(pairs, scores, reference)

    def weight(winner: Values, loser: Values) -> Tensor:
        return weigh(winner[2], loser[2])

    def value(winner: Values, loser: Values) -> Tensor:
        return loss.value(_margin(winner, loser, reference_floor)) * weight(winner, loser)

    def slope(winner: Values, loser: Values) -> Tensor:
        return loss.slope(_margin(winner, loser, reference_floor)) * weight(winner, loser)

    total, gradient, count = pair_sums(
        [value, slope, weight], pairs.labels, pairs.valid, values, pairs.groups
    )
    return (
        _with_gradient(ops.sum(total.won), gradient.won - gradient.lost, scores, pairs.valid),
        ops.sum(count.won),
    )


def softmax_sum(
    pairs: Pairs,
    scores: Tensor,
    reference: Tensor | None,
    scale: float,
    *,
    reference_floor: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sums `log(1 + Σ_j exp(−scale · margin_ij))`, j over what i beats, over all winners i.

    Arguments as for `sum_over_pairs`, `scale` multiplying the margin. With weights, `weight_j`
    multiplies the exponential and `weight_i` the whole.

    Returns:
        The sum, and the sum of the winners' weights; scalars.
    """
    values = _values(pairs, scores, reference)

    def log_odds(winner: Values, loser: Values) -> Tensor:
        # A weight of 0 must not give an infinite logarithm.
        log_weight = ops.log(ops.maximum(loser[2], 1e-30))
        return log_weight - scale * _margin(winner, loser, reference_floor)

    arguments = (pairs.labels, pairs.valid)
    [odds] = pair_sums([log_odds], *arguments, values, pairs.groups, log=True)
    of_winner = ops.softplus(odds.won)

    def share(winner: Values, loser: Values) -> Tensor:
        return winner[2] * ops.exp(log_odds(winner, loser) - winner[3])

    [shares] = pair_sums([share], *arguments, [*values, of_winner], pairs.groups)
    weights = ops.where(odds.won > 0.5 * LOG_ZERO, values[2], ops.zeros_like(values[2]))
    total = ops.sum(of_winner * weights)
    gradient = scale * (shares.lost - shares.won)
    return _with_gradient(total, gradient, scores, pairs.valid), ops.sum(weights)


def reduced(total: Tensor, count: Tensor, reduction: str) -> Tensor:
    """Returns `total`, or its mean over `count`, 0 where there is nothing to take it over.

    Args:
        total: Scalar.
        count: Scalar of at least 0.
        reduction: `"mean"` or `"sum"`.
    """
    if one_of("reduction", reduction, REDUCTIONS) == "sum":
        return total
    # Not max(count, 1): weights may sum to less than 1.
    return total / ops.where(count > 0, count, ops.ones_like(count))


def checked_scores(scores: Tensor, **others: Tensor | None) -> Tensor:
    """Returns the scores in the dtype that losses are computed in.

    Args:
        scores: `(batch, slate)`.
        **others: What else must have that shape, by the argument's name; None is passed over.

    Raises:
        ValueError: A shape is another one, or a tensor is ragged; the message names it.
    """
    named = {"scores": scores, **others}
    for name, tensor in named.items():
        refuse_ragged(name, tensor)
    expected = tuple(ops.convert_to_tensor(scores).shape)
    for name, tensor in named.items():
        shape = expected if tensor is None else tuple(ops.convert_to_tensor(tensor).shape)
        if len(shape) != 2 or not agree(shape, expected):
            raise ValueError(
                f"`{name}` must have shape (batch, slate), the same as `scores`. "
                f"Received: {name} of shape {shape}, scores of shape {expected}."
            )
    return accumulated(scores)


def _values(pairs: Pairs, scores: Tensor, reference: Tensor | None) -> list[Tensor]:
    """Scores, reference and weights without gradient, finite wherever an item is not valid."""
    zeros = ops.zeros_like(scores)
    weights = ops.ones_like(scores) if pairs.weights is None else pairs.weights
    values = [scores, zeros if reference is None else reference, weights]
    return [
        ops.stop_gradient(ops.where(pairs.valid, ops.cast(value, scores.dtype), zeros))
        for value in values
    ]


def _margin(winner: Values, loser: Values, reference_floor: bool) -> Tensor:
    expected = winner[1] - loser[1]
    return winner[0] - loser[0] - (ops.relu(expected) if reference_floor else expected)


def _with_gradient(value: Tensor, gradient: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    """Returns `value` with `gradient` as its gradient with respect to `scores`.

    Both come from the same pass over the pairs, and the pass across slates is a loop of unknown
    length, which XLA does not differentiate.
    """
    scores = ops.where(valid, scores, ops.zeros_like(scores))
    change = scores - ops.stop_gradient(scores)
    return ops.stop_gradient(value) + ops.sum(ops.stop_gradient(gradient) * change)
