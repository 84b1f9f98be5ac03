"""Ranking metrics per group, on flat arrays: numpy only.

A *group* is a list that is ranked: one request, or all candidates of a user's answered requests.
Rows of all groups lie in one flat array beside a `groups` array of group numbers (from 0, in
any order), so that thousands of short lists cost a few array operations. Every function
returns one value a group, NaN where the metric is not defined there (no relevant candidate, no
pair); averaging and intervals are `bootstrap`'s part.

Equal scores: rankings break them by `tie_break`, ascending, and then by the order of the rows.
Give it something that knows nothing of relevance or of the logged order (a hash), or a scorer that
ties everything inherits the ranking of whoever wrote the log. Pair metrics need no tie-break: a
tied pair counts ½.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def positions(groups: Ints, n_groups: int, scores: Floats, tie_break: Floats) -> Ints:
    """The place of each row in its group by descending score; 0 is the first."""
    order = _by_score(groups, -scores, tie_break)
    sizes = np.bincount(groups, minlength=n_groups)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - starts[groups[order]]
    return place


def hit_rate(groups: Ints, n_groups: int, place: Ints, relevant: Bools, k: int) -> Floats:
    """1 if any of the first k rows is relevant, else 0 (HR@k); NaN without a relevant row."""
    hits = np.bincount(groups[relevant & (place < k)], minlength=n_groups) > 0
    return _where(_any(groups, n_groups, relevant), hits.astype(np.float64))


def reciprocal_rank(groups: Ints, n_groups: int, place: Ints, relevant: Bools) -> Floats:
    """1 / (rank of the first relevant row), ranks from 1; NaN without a relevant row."""
    first = np.full(n_groups, np.inf)
    np.minimum.at(first, groups[relevant], place[relevant].astype(np.float64))
    return _where(np.isfinite(first), 1.0 / (first + 1.0))


def ndcg(groups: Ints, n_groups: int, place: Ints, gain: Floats, k: int) -> Floats:
    """Σ gain / log2(rank + 1) over the first k rows, over the largest such sum.

    NaN if all gains are 0.

    Args:
        gain: 0 or more a row. Binary relevance is a gain of 0 or 1.
    """
    best = _discounted(
        groups, n_groups, positions(groups, n_groups, gain, np.zeros(len(gain))), gain, k
    )
    got = _discounted(groups, n_groups, place, gain, k)
    return _where(best > 0, got / np.where(best > 0, best, 1.0))


def top_mean(groups: Ints, n_groups: int, place: Ints, value: Floats, k: int) -> Floats:
    """The mean value of the first k rows (all, in a shorter group); NaN for an empty group."""
    top = place < k
    count = np.bincount(groups[top], minlength=n_groups)
    total = np.bincount(groups[top], weights=value[top], minlength=n_groups)
    return _where(count > 0, total / np.maximum(count, 1))


def ordered_pairs(
    groups: Ints, n_groups: int, scores: Floats, better: Bools, worse: Bools
) -> tuple[Floats, Floats]:
    """Counts pairs of a better and a worse row of a group, and those with the better scored higher.

    Their ratio is the pair accuracy, which is the AUC within the group. A tie counts ½.

    Returns:
        `(right, pairs)`, one value a group.
    """
    rows = better | worse
    group, upper = groups[rows], better[rows]
    rank = _mean_ranks(group, n_groups, scores[rows])
    n_better = np.bincount(group[upper], minlength=n_groups).astype(np.float64)
    n_worse = np.bincount(group[~upper], minlength=n_groups).astype(np.float64)
    # Mann and Whitney's U from the sum of ranks; ranks are multiples of ½, so the sums are exact.
    ranks = np.bincount(group[upper], weights=rank[upper], minlength=n_groups)
    return ranks - n_better * (n_better + 1) / 2, n_better * n_worse


def ordered_level_pairs(
    groups: Ints, n_groups: int, scores: Floats, level: Ints
) -> tuple[Floats, Floats]:
    """As `ordered_pairs`, over all pairs of rows whose levels differ: the higher is the better."""
    right, pairs = np.zeros(n_groups), np.zeros(n_groups)
    for value in np.unique(level)[1:]:
        more_right, more_pairs = ordered_pairs(
            groups, n_groups, scores, level == value, level < value
        )
        right += more_right
        pairs += more_pairs
    return right, pairs


def share(right: Floats, pairs: Floats) -> Floats:
    """right / pairs, NaN where there is no pair."""
    return _where(pairs > 0, right / np.maximum(pairs, 1.0))


def tied_rows(groups: Ints, n_groups: int, scores: Floats) -> Ints:
    """How many rows of each group share their score with another row of the group."""
    group, _, size = _runs(groups, scores, _by_score(groups, scores))
    return np.bincount(group, weights=np.where(size > 1, size, 0), minlength=n_groups).astype(
        np.int64
    )


def _discounted(groups: Ints, n_groups: int, place: Ints, gain: Floats, k: int) -> Floats:
    top = place < k
    return np.bincount(
        groups[top], weights=gain[top] / np.log2(place[top] + 2.0), minlength=n_groups
    ).astype(np.float64)


def _mean_ranks(groups: Ints, n_groups: int, scores: Floats) -> Floats:
    """Ranks within the group by ascending score, from 1; tied rows share their mean rank."""
    order = _by_score(groups, scores)
    group, first, size = _runs(groups, scores, order)
    sizes = np.bincount(groups, minlength=n_groups)
    starts = np.cumsum(sizes) - sizes
    run_rank = first - starts[group] + (size + 1) / 2
    ranks = np.empty(len(groups), dtype=np.float64)
    ranks[order] = np.repeat(run_rank, size)
    return ranks


def _runs(groups: Ints, scores: Floats, order: Ints) -> tuple[Ints, Ints, Ints]:
    """Runs of equal score in a group, by `order` of `_by_score`: group, first row there, size."""
    group, score = groups[order], scores[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    first = np.flatnonzero(new)
    return group[first], first, np.diff(np.append(first, len(order)))


def _by_score(groups: Ints, scores: Floats, *tie_break: Floats) -> Ints:
    """Rows by group, ascending score, tie-break, and as they stand.

    That is `np.lexsort`, but several times as fast where no two rows of a group tie: NumPy sorts
    single numbers with vector instructions, and keys of several parts without.
    """
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(scores)] = np.arange(len(scores))
    order = np.argsort(groups.astype(np.int64) * len(scores) + rank)
    ascending = scores[order]
    if np.any(ascending[1:] == ascending[:-1]):
        return np.lexsort((*tie_break, scores, groups))
    return order


def _any(groups: Ints, n_groups: int, rows: Bools) -> Bools:
    return np.bincount(groups[rows], minlength=n_groups) > 0


def _where(defined: Bools, value: Floats) -> Floats:
    return np.where(defined, value, np.nan)
