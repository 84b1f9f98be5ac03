"""Pair groups: each new answer together with the same user's earlier ones.

Two answers in one request are rare, so pairs of a satisfied and a dissatisfied answer are formed
across a user's requests as well. The paper does not say how; here every new answer is compared
with the user's answers of a rolling window (`pair_window` of the dataset config).

What is grouped is arrivals: a slate and the answers about it that came at one moment. A slate
answered twice arrives twice, each time with the new answer alone, so that every answer is new
exactly once and no group knows an answer that came after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.example_gen.columnar import Ints, position_in_run, starts_of_runs


@dataclass(frozen=True)
class PairGroups:
    """The groups; group g ends with arrival g, its anchor.

    Attributes:
        size: `[arrivals]`, the anchor included: group g is `g - size[g] + 1 ... g`.
        same_user_pairs: satisfied-dissatisfied pairs of an anchor with other slates of its group.
        in_request_pairs: those of an anchor within its own slate.
    """

    size: Ints
    same_user_pairs: int
    in_request_pairs: int


def pair_groups(
    user: Ints,
    slate: Ints,
    answered_ms: Ints,
    satisfied: Ints,
    dissatisfied: Ints,
    *,
    window_ms: float,
    max_slates: int,
    anchors: Ints | None = None,
) -> PairGroups:
    """Forms one group for each arrival.

    Args:
        user, slate: `[arrivals]`, sorted by user, then by `answered_ms`.
        answered_ms: `[arrivals]`, when the answers came.
        satisfied, dissatisfied: `[arrivals]`, how many of each.
        window_ms: how much older than the anchor a member may be.
        max_slates: most slates a group, the anchor included; the newest are kept.
        anchors: the arrivals whose pairs are counted; default: all.
    """
    index = np.arange(len(user))
    anchors = index if anchors is None else anchors
    first = np.maximum(index - (max_slates - 1), _first_in_window(user, answered_ms, window_ms))
    size = index - first + 1
    member, group = members(size, anchors)
    anchor = anchors[group]
    pairs = satisfied[anchor] * dissatisfied[member]
    # Within the anchor each pair would be met from both sides.
    pairs += np.where(member == anchor, 0, dissatisfied[anchor] * satisfied[member])
    same_slate = slate[member] == slate[anchor]
    return PairGroups(size, int(pairs[~same_slate].sum()), int(pairs[same_slate].sum()))


def members(size: Ints, anchors: Ints) -> tuple[Ints, Ints]:
    """The arrivals of the groups of `anchors`, in that order, each group in the order of time.

    Returns:
        `[records]`: the arrival, and the number of its anchor within `anchors`.
    """
    sizes = size[anchors]
    group = np.repeat(np.arange(len(anchors)), sizes)
    within = np.arange(len(group)) - (np.cumsum(sizes) - sizes)[group]
    return (anchors - sizes + 1)[group] + within, group


def _first_in_window(user: Ints, answered_ms: Ints, window_ms: float) -> Ints:
    """The first arrival of the same user no more than the window before each arrival."""
    count = len(user)
    first_of_user = np.arange(count) - position_in_run(starts_of_runs(user), count)
    # Starts of windows sort in among the arrivals of their user, before those of the same time.
    time = np.concatenate([answered_ms, answered_ms - window_ms])
    is_arrival = np.arange(2 * count) < count
    order = np.lexsort((is_arrival, time, np.concatenate([user, user])))
    arrivals_before = np.cumsum(is_arrival[order]) - is_arrival[order]
    first = np.empty(count, np.int64)
    starts = ~is_arrival[order]
    first[order[starts] - count] = arrivals_before[starts]
    return np.maximum(first, first_of_user)
