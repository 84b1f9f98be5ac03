"""Ranking metrics against values worked out by hand, and against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import ranking_metrics as metrics

# Two lists. By score: list 0 is b(.9) a(.5) c(.1); list 1 is e(.7) d(.3).
GROUPS = np.array([0, 0, 0, 1, 1])
SCORES = np.array([0.5, 0.9, 0.1, 0.3, 0.7])
NO_TIES = np.zeros(5)


def _place(scores=SCORES, tie_break=NO_TIES):
    return metrics.positions(GROUPS, 2, np.asarray(scores), np.asarray(tie_break))


def test_positions_count_from_the_highest_score_of_the_group():
    assert _place().tolist() == [1, 0, 2, 1, 0]


def test_equal_scores_are_ordered_by_the_tie_break_then_by_row():
    assert _place(scores=[1, 1, 1, 1, 1], tie_break=[0.3, 0.1, 0.2, 0.5, 0.5]).tolist() == [
        2,
        0,
        1,
        0,
        1,
    ]


def test_groups_may_be_interleaved():
    place = metrics.positions(
        np.array([1, 0, 1, 0]), 2, np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(4)
    )
    assert place.tolist() == [1, 1, 0, 0]


def test_hit_rate_is_whether_any_of_the_first_k_is_relevant():
    relevant = np.array([True, False, False, False, True])
    assert metrics.hit_rate(GROUPS, 2, _place(), relevant, 1).tolist() == [0.0, 1.0]
    assert metrics.hit_rate(GROUPS, 2, _place(), relevant, 2).tolist() == [1.0, 1.0]


def test_metrics_of_a_group_without_relevant_rows_are_not_defined():
    relevant = np.array([True, False, False, False, False])
    assert np.isnan(metrics.hit_rate(GROUPS, 2, _place(), relevant, 1)[1])
    assert np.isnan(metrics.reciprocal_rank(GROUPS, 2, _place(), relevant)[1])
    assert np.isnan(metrics.ndcg(GROUPS, 2, _place(), relevant.astype(float), 5)[1])


def test_reciprocal_rank_looks_at_the_first_relevant_row_only():
    relevant = np.array([True, False, True, True, False])
    assert metrics.reciprocal_rank(GROUPS, 2, _place(), relevant).tolist() == [0.5, 0.5]


def test_ndcg_of_binary_relevance():
    # List 0 has its relevant rows at ranks 2 and 3: (1/log2 3 + 1/log2 4) / (1 + 1/log2 3).
    relevant = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    expected = (1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3))
    assert metrics.ndcg(GROUPS, 2, _place(), relevant, 5) == pytest.approx([expected, 1.0])


def test_ndcg_cuts_the_ideal_ranking_too():
    relevant = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    # At 1: list 0 has an irrelevant row first.
    assert metrics.ndcg(GROUPS, 2, _place(), relevant, 1).tolist() == [0.0, 1.0]


def test_ndcg_of_graded_gains():
    # List 0 ranks gains 1, 3, 0 where 3, 1, 0 is best.
    gain = np.array([3.0, 1.0, 0.0, 1.0, 1.0])
    expected = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert metrics.ndcg(GROUPS, 2, _place(), gain, 5) == pytest.approx([expected, 1.0])


def test_top_mean_of_a_short_list_is_over_the_list():
    value = np.array([1.0, 3.0, 5.0, 2.0, 4.0])
    assert metrics.top_mean(GROUPS, 2, _place(), value, 2).tolist() == [2.0, 3.0]
    assert metrics.top_mean(GROUPS, 2, _place(), value, 9).tolist() == [3.0, 3.0]


def test_ordered_pairs_counts_and_gives_half_for_a_tie():
    groups = np.zeros(5, dtype=int)
    scores = np.array([2.0, 1.0, 1.0, 3.0, 9.0])
    better = np.array([True, True, False, False, False])
    worse = np.array([False, False, True, True, False])
    # (2 > 1): 1; (2 > 3): 0; (1 = 1): ½; (1 > 3): 0. Score 9 is neither.
    right, pairs = metrics.ordered_pairs(groups, 1, scores, better, worse)
    assert (right[0], pairs[0]) == (1.5, 4.0)
    assert metrics.share(right, pairs).tolist() == [0.375]


def test_pairs_never_span_groups():
    groups = np.array([0, 1])
    better, worse = np.array([True, False]), np.array([False, True])
    right, pairs = metrics.ordered_pairs(groups, 2, np.array([1.0, 0.0]), better, worse)
    assert pairs.tolist() == [0.0, 0.0]
    assert np.isnan(metrics.share(right, pairs)).all()


def test_level_pairs_are_all_pairs_of_different_levels():
    groups = np.zeros(3, dtype=int)
    # Levels 2, 1, 0 scored .1, .9, .5: (2>1) wrong, (2>0) wrong, (1>0) right.
    right, pairs = metrics.ordered_level_pairs(
        groups, 1, np.array([0.1, 0.9, 0.5]), np.array([2, 1, 0])
    )
    assert (right[0], pairs[0]) == (1.0, 3.0)


def test_tied_rows_counts_every_row_that_shares_its_score_within_its_group():
    scores = np.array([1.0, 1.0, 2.0, 1.0, 3.0])
    assert metrics.tied_rows(GROUPS, 2, scores).tolist() == [2, 0]


LISTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=30
)


@given(LISTS)
def test_ordered_pairs_agrees_with_counting_them_one_by_one(rows):
    groups = np.array([row[0] for row in rows])
    scores = np.array([float(row[1]) for row in rows])
    better = np.array([row[2] for row in rows])
    right, pairs = metrics.ordered_pairs(groups, 4, scores, better, ~better)
    for group in range(4):
        outcomes = [
            1.0 if high[1] > low[1] else 0.5 if high[1] == low[1] else 0.0
            for high in rows
            for low in rows
            if high[0] == low[0] == group and high[2] and not low[2]
        ]
        assert (right[group], pairs[group]) == (sum(outcomes), len(outcomes))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.floats(allow_nan=False, width=16), st.sampled_from([0.1, 0.2])
        ),
        max_size=30,
    )
)
def test_positions_are_those_of_sorting_by_score_tie_break_and_row(rows):
    groups = np.array([row[0] for row in rows], dtype=np.int64)
    scores = np.array([row[1] for row in rows], dtype=np.float64)
    tie_break = np.array([row[2] for row in rows], dtype=np.float64)
    place = metrics.positions(groups, 4, scores, tie_break)
    for group in range(4):
        members = [row for row in range(len(rows)) if groups[row] == group]
        expected = sorted(members, key=lambda row: (-scores[row], tie_break[row], row))
        assert sorted(members, key=lambda row: place[row]) == expected
        assert sorted(place[members]) == list(range(len(members)))


@given(LISTS, st.integers(1, 6))
def test_ndcg_lies_between_0_and_1_and_is_1_for_the_ideal_order(rows, k):
    groups = np.array([row[0] for row in rows])
    gain = np.array([float(row[1]) for row in rows])
    place = metrics.positions(groups, 4, gain, np.arange(len(rows), dtype=float))
    ideal = metrics.ndcg(groups, 4, place, gain, k)
    worst = metrics.ndcg(groups, 4, metrics.positions(groups, 4, -gain, gain), gain, k)
    defined = ~np.isnan(ideal)
    assert ideal[defined] == pytest.approx(1.0)
    assert ((worst[defined] >= 0) & (worst[defined] <= 1 + 1e-12)).all()
