"""Pair groups against a loop over all pairs of arrivals."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.example_gen.pair_groups import members, pair_groups


def grouped(arrivals, window_ms, max_slates):
    columns = np.array(arrivals, np.int64).reshape(-1, 5).T
    return pair_groups(*columns, window_ms=window_ms, max_slates=max_slates)


def test_groups_of_one_user_by_hand():
    # user, slate, time, satisfied, dissatisfied
    arrivals = [(0, 0, 10, 1, 0), (0, 1, 20, 0, 1), (0, 1, 30, 1, 0), (1, 2, 30, 1, 1)]
    groups = grouped(arrivals, window_ms=15, max_slates=8)
    assert groups.size.tolist() == [1, 2, 2, 1]
    assert groups.same_user_pairs == 1  # slates 1 and 0
    assert groups.in_request_pairs == 2  # slate 1 with its earlier answer, slate 2 in itself


def test_members_are_listed_group_by_group():
    arrivals, group = members(np.array([1, 2, 3]), np.array([2, 0]))
    assert arrivals.tolist() == [0, 1, 2, 0]
    assert group.tolist() == [0, 0, 0, 1]


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 20),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=25,
)


@settings(max_examples=100)
@given(ARRIVALS, st.integers(1, 12), st.integers(1, 5))
def test_any_arrivals(rows, window_ms, max_slates):
    rows = sorted(
        ((user, 10 * user + slate, *rest) for user, slate, *rest in rows),
        key=lambda row: (row[0], row[2]),
    )
    size, same_user, in_request = [], 0, 0
    for index, (user, slate, time, good, poor) in enumerate(rows):
        earlier = [row for row in rows[:index] if row[0] == user and row[2] >= time - window_ms]
        group = earlier[max(0, len(earlier) - max_slates + 1) :]
        size.append(len(group) + 1)
        in_request += good * poor
        for _, other, _, other_good, other_poor in group:
            pairs = good * other_poor + poor * other_good
            same_user += pairs if other != slate else 0
            in_request += pairs if other == slate else 0
    groups = grouped(rows, window_ms, max_slates)
    assert groups.size.tolist() == size
    assert groups.same_user_pairs == same_user
    assert groups.in_request_pairs == in_request
