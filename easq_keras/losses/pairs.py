"""Sums over ordered pairs of labelled items: the ground all pairwise losses stand on.

A pair is (winner, loser): two items of one group, both valid, the winner's label above the
loser's. A group is a slate, or all slates that share a group number.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from keras import ops

from easq_keras.shapes import agree
from easq_keras.types import Tensor

# What a pair contributes, from the values of its winner and of its loser; all broadcast.
Values: TypeAlias = tuple[Tensor, ...]
PairTerm: TypeAlias = Callable[[Values, Values], Tensor]

# Stands for the logarithm of an empty sum; finite, so that differences of two are 0 and not NaN.
LOG_ZERO = -1e30
# Larger than any number of a row.
NO_ROW = 2**31 - 1


class PairSums(NamedTuple):
    """A term summed over the pairs, both `(batch, slate)`."""

    won: Tensor  # by item, over the pairs that it wins
    lost: Tensor  # by item, over the pairs that it loses


def pair_sums(
    terms: Sequence[PairTerm],
    labels: Tensor,
    valid: Tensor,
    values: Sequence[Tensor],
    groups: Tensor | None = None,
    *,
    log: bool = False,
) -> list[PairSums]:
    """Sums each term over the pairs, once by winner and once by loser.

    Every pair counts however many there are, and none counts twice. Within slates this costs
    `batch · slate²`. Across slates (`groups` given) it costs a sort and `batch · slate` times the
    number of valid items in the largest group, with memory that does not grow with the number of
    pairs; there the gradient of `values` must be stopped, for the loop has none.

    Args:
        terms: Functions `(winner's values, loser's values) → contribution of the pair`.
        labels: `(batch, slate)`.
        valid: `(batch, slate)` booleans: the items that may form pairs.
        values: Tensors `(batch, slate)` of one floating dtype that the terms use.
        groups: `(batch,)` integers; rows that share a number of at least 0 form one group, and a
            row with a negative number, or each row if None, is a group of its own.
        log: The terms are logarithms of what is to be summed, and so are the results; an empty
            sum is `LOG_ZERO`.

    Returns:
        For each term its sums.

    Raises:
        ValueError: `groups` has another shape.
    """
    labels = ops.convert_to_tensor(labels)
    if groups is None:
        return _within_rows(terms, labels, valid, values, log)
    groups = ops.convert_to_tensor(groups)
    if not agree(groups.shape, labels.shape[:1]):
        raise ValueError(
            "`groups` must have shape (batch,). "
            f"Received: groups of shape {tuple(groups.shape)}, labels of {tuple(labels.shape)}."
        )
    return _within_groups(terms, labels, valid, values, groups, log)


def count_pairs(labels: Tensor, mask: Tensor | None = None, groups: Tensor | None = None) -> Tensor:
    """Number of ordered pairs that a pairwise loss of these arguments runs over.

    Args:
        labels: `(batch, slate)`; below 0 or NaN means no label.
        mask: `(batch, slate)`, 0 for padding.
        groups: `(batch,)`; see `pairwise_logistic_loss`.

    Returns:
        A float32 scalar.

    Examples:
        >>> float(count_pairs(np.array([[2.0, 1.0, 1.0, -1.0], [1.0, 0.0, 0.0, 0.0]])))
        5.0
    """
    labels = ops.cast(labels, "float32")
    ones = ops.ones_like(labels)
    [counts] = pair_sums([_one], labels, valid_items(labels, mask), [ones], groups)
    return ops.sum(counts.won)


def _one(winner: Values, loser: Values) -> Tensor:
    return winner[0] * loser[0]


def valid_items(labels: Tensor, mask: Tensor | None) -> Tensor:
    """Returns which items have a label of at least 0 and are not masked, as booleans.

    Args:
        labels: `(batch, slate)`.
        mask: `(batch, slate)`, 0 for padding, or None.
    """
    labelled = ops.convert_to_tensor(labels) >= 0
    return labelled if mask is None else ops.logical_and(labelled, ops.cast(mask, "bool"))


def _within_rows(
    terms: Sequence[PairTerm], labels: Tensor, valid: Tensor, values: Sequence[Tensor], log: bool
) -> list[PairSums]:
    wins = ops.logical_and(labels[:, :, None] > labels[:, None, :], valid[:, :, None])
    pairs = ops.logical_and(wins, valid[:, None, :])
    winner = tuple(value[:, :, None] for value in values)
    loser = tuple(value[:, None, :] for value in values)
    neutral = ops.cast(LOG_ZERO if log else 0.0, values[0].dtype)
    reduce = ops.logsumexp if log else ops.sum
    sums = []
    for term in terms:
        kept = ops.where(pairs, term(winner, loser), neutral)
        sums.append(PairSums(won=reduce(kept, axis=2), lost=reduce(kept, axis=1)))
    return sums


def _within_groups(
    terms: Sequence[PairTerm],
    labels: Tensor,
    valid: Tensor,
    values: Sequence[Tensor],
    groups: Tensor,
    log: bool,
) -> list[PairSums]:
    """Sorts the valid items by group, then pairs each with the next, the next but one, …"""
    dtype = values[0].dtype
    shape = ops.shape(labels)
    keys = ops.reshape(ops.where(valid, group_keys(groups)[:, None], shape[0]), (-1,))
    order = ops.argsort(keys)
    key = ops.take(keys, order)
    columns = [ops.cast(labels, dtype), *values]
    table = ops.stack([ops.take(ops.reshape(column, (-1,)), order) for column in columns])
    items = ops.shape(key)[0]
    place = ops.arange(items, dtype="int32")
    neutral = ops.cast(LOG_ZERO if log else 0.0, dtype)
    merge = ops.logaddexp if log else ops.add
    sizes = ops.segment_sum(ops.cast(key < shape[0], "int32"), key, num_segments=shape[0] + 1)
    largest = ops.max(sizes)

    def unfinished(shift: Tensor, *_: Tensor) -> Tensor:
        return shift < largest

    def add_pairs_at(shift: Tensor, won: Tensor, lost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        other = _shifted(table, shift)
        together = ops.logical_and(_shifted(key[None], shift)[0] == key, key < shape[0])
        together = ops.logical_and(together, place + shift < items)
        first_wins = ops.logical_and(together, table[0] > other[0])
        other_wins = ops.logical_and(together, table[0] < other[0])
        ours, theirs = ops.unstack(table[1:]), ops.unstack(other[1:])
        winner = tuple(ops.where(other_wins, b, a) for a, b in zip(ours, theirs, strict=True))
        loser = tuple(ops.where(other_wins, a, b) for a, b in zip(ours, theirs, strict=True))
        sums = ops.stack([term(winner, loser) for term in terms])
        by_first = ops.where(first_wins, sums, neutral)
        by_other = ops.where(other_wins, sums, neutral)
        back = items - shift
        return (
            shift + 1,
            merge(merge(won, by_first), _shifted(by_other, back)),
            merge(merge(lost, by_other), _shifted(by_first, back)),
        )

    empty = ops.full((len(terms), items), neutral, dtype=dtype)
    start = (ops.cast(1, "int32"), empty, empty)
    _, won, lost = ops.while_loop(unfinished, add_pairs_at, start)
    # The inverse of the sort.
    back = ops.argsort(order)
    return [
        PairSums(
            won=ops.reshape(ops.take(won[index], back), shape),
            lost=ops.reshape(ops.take(lost[index], back), shape),
        )
        for index in range(len(terms))
    ]


def _shifted(rows: Tensor, shift: Tensor) -> Tensor:
    """Returns `(n, items)` with place p holding what place p + shift held, round the end."""
    return ops.slice(ops.concatenate([rows, rows], axis=1), (0, shift), ops.shape(rows))


def group_keys(groups: Tensor) -> Tensor:
    """Numbers the groups by their first row.

    Args:
        groups: `(batch,)` integers of any size, hashes included.

    Returns:
        `(batch,)` int32 in `[0, batch)`: for each row the first row of its group, which for a
        negative number is itself.
    """
    groups = ops.convert_to_tensor(groups)
    rows = ops.arange(ops.shape(groups)[0], dtype="int32")
    same = groups[:, None] == groups[None, :]
    # `initial` for a batch without rows.
    first = ops.min(ops.where(same, rows[None, :], NO_ROW), axis=1, initial=NO_ROW)
    return ops.where(groups >= 0, first, rows)
