"""Pairs of answers in a training batch, counted by hand and by a loop."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pair_coverage import PairCoverage, answered_pairs


def test_answers_pair_inside_their_group_only():
    answers = np.float32([[1, -1], [0, 0], [0, -1], [1, -1]])
    # Rows 0 and 1 are a group: one satisfied, two dissatisfied. Rows 2 and 3 stand alone.
    assert answered_pairs(answers, np.array([5, 5, -1, -1])) == 2


def test_equal_answers_are_no_pair_and_three_levels_pair_each_with_each():
    assert answered_pairs(np.float32([[1, 1, 1]]), np.array([0])) == 0
    assert answered_pairs(np.float32([[1, 0.5, 0]]), np.array([-1])) == 3
    assert answered_pairs(np.float32([[-1, -1]]), np.array([-1])) == 0


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([-1, 0, 0.5, 1]), min_size=3, max_size=3)),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_the_count_is_a_loop_over_all_pairs(rows, data):
    answers = np.float32([row for (row,) in rows])
    groups = np.array(
        data.draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows)))
    )
    expected = 0
    flat = [(i, a) for i, row in enumerate(answers) for a in row if a >= 0]
    for at, (i, a) in enumerate(flat):
        for j, b in flat[at + 1 :]:
            together = i == j or groups[i] == groups[j] >= 0
            expected += together and a != b
    assert answered_pairs(answers, groups) == expected


def test_batches_are_counted_and_pass_unchanged():
    answers = np.float32([[[1, 0]], [[1, -1]], [[-1, -1]], [[0, 1]]])
    labels = {"answer": answers, "pair_group": np.full([4, 1], -1)}
    batches = tf.data.Dataset.from_tensor_slices(({"x": np.arange(4)}, labels))
    coverage = PairCoverage()
    seen = [features["x"] for features, _ in coverage.observe(batches).as_numpy_iterator()]
    assert seen == [0, 1, 2, 3]
    assert coverage.to_dict() == {"share_of_batches": 0.5, "pairs_per_batch": 0.5}


def test_fresh_groups_are_counted_once_each_and_replayed_rows_not_at_all():
    labels = {
        "answer": np.ones([2, 4, 1], np.float32),
        "pair_group": [[0, 0, 1, -1], [2, -1, -1, -1]],
    }
    batches = tf.data.Dataset.from_tensor_slices(({"x": np.arange(2)}, labels))
    coverage = PairCoverage()
    list(coverage.observe(batches).as_numpy_iterator())
    assert coverage.groups == 3
