"""Pair groups: each answered slate together with the same user's earlier answered ones.

Two answers in one request are rare, so pairs of a satisfied and a dissatisfied answer are formed
across a user's requests as well. The paper does not say how; here every new answer is compared
with the user's answers of a rolling window (`pair_window` of the dataset config).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.example_gen.columnar import Ints, position_in_run, starts_of_runs


@dataclass(frozen=True)
class PairGroups:
    """The groups of answered slates; group g ends with slate g, its anchor.

    Attributes:
        size: `[slates]`, slates in the group, the anchor included: the group of slate g is
            `g - size[g] + 1 ... g`.
        same_user_pairs: satisfied-dissatisfied pairs of an anchor with the others of its group.
        in_request_pairs: those within one slate.
    """

    size: Ints
    same_user_pairs: int
    in_request_pairs: int


def pair_groups(
    user: Ints,
    answered_ms: Ints,
    satisfied: Ints,
    dissatisfied: Ints,
    *,
    window_ms: float,
    max_slates: int,
) -> PairGroups:
    """Forms one group for each answered slate.

    Args:
        user: `[slates]`, whose it is. Slates are sorted by user, then by `answered_ms`.
        answered_ms: `[slates]`, when the slate's newest answer arrived.
        satisfied, dissatisfied: `[slates]`, how many such answers it holds.
        window_ms: how much older than the anchor's a member's answer may be.
        max_slates: most slates a group, the anchor included; the newest are kept.
    """
    count = len(user)
    index = np.arange(count)
    first_of_user = index - position_in_run(starts_of_runs(user), count)
    first = np.maximum(first_of_user, index - (max_slates - 1))
    first = np.maximum(first, _first_in_window(user, answered_ms, window_ms))
    earlier_satisfied = _sums_before(satisfied, first)
    earlier_dissatisfied = _sums_before(dissatisfied, first)
    same_user = satisfied * earlier_dissatisfied + dissatisfied * earlier_satisfied
    return PairGroups(
        index - first + 1, int(same_user.sum()), int((satisfied * dissatisfied).sum())
    )


def members(size: Ints, anchors: Ints) -> tuple[Ints, Ints]:
    """The slates of the groups of `anchors`, in that order, each group in the order of time.

    Returns:
        `[records]`: the slate, and the number of its anchor within `anchors`.
    """
    sizes = size[anchors]
    group = np.repeat(np.arange(len(anchors)), sizes)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(group)) - starts[group]
    return (anchors - sizes + 1)[group] + within, group


def _first_in_window(user: Ints, answered_ms: Ints, window_ms: float) -> Ints:
    """The first slate of the same user no more than the window before each slate."""
    count = len(user)
    # Window starts sort in among the slates of their user, before slates of the same time.
    time = np.concatenate([answered_ms, answered_ms - window_ms])
    is_slate = np.arange(2 * count) < count
    order = np.lexsort((is_slate, time, np.concatenate([user, user])))
    slates_before = np.cumsum(is_slate[order]) - is_slate[order]
    first = np.empty(count, np.int64)
    starts = ~is_slate[order]
    first[order[starts] - count] = slates_before[starts]
    return first


def _sums_before(values: Ints, first: Ints) -> NDArray[np.int64]:
    """The sum of `values[first[i]:i]` for each i."""
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return total[:-1] - total[first]
