"""Requests rebuilt from time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.dataset_config import Rebuild
from pipeline.logs.requests import rebuild_requests

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MIDNIGHT = 19_000 * DAY
GAP = Rebuild(gap_minutes=30)


def requests(users: list[str], times: list[int], rebuild: Rebuild, width: int = 40) -> list[str]:
    return rebuild_requests(pa.array(users), np.array(times), rebuild, width).to_pylist()


def test_a_longer_gap_begins_a_new_request() -> None:
    times = [0, 30 * MINUTE, 60 * MINUTE + 1]
    assert requests(["a"] * 3, times, GAP) == ["a/0", "a/0", "a/3600001"]


def test_another_user_is_another_request_however_close() -> None:
    assert requests(["a", "b", "b"], [5, 5, 6], GAP) == ["a/5", "b/5", "b/5"]
    assert requests(["a", "b"], [9, 5], GAP) == ["a/9", "b/5"]


def test_a_day_begins_at_midnight_of_the_given_offset() -> None:
    times = [MIDNIGHT + 15 * HOUR, MIDNIGHT + 17 * HOUR, MIDNIGHT + 25 * HOUR]
    utc = requests(["a"] * 3, times, Rebuild(by="user_day"))
    assert [len(set(utc[:2])), len(set(utc[1:]))] == [1, 2]
    china = requests(["a"] * 3, times, Rebuild(by="user_day", utc_offset_hours=8))
    assert [len(set(china[:2])), len(set(china[1:]))] == [2, 1]


def test_a_long_request_is_cut_into_even_pieces() -> None:
    cut = requests(["a"] * 7, [0] * 7, GAP, width=3)
    assert cut == ["a/0"] * 3 + ["a/0/1"] * 2 + ["a/0/2"] * 2


def test_no_rows_are_no_requests() -> None:
    assert requests([], [], GAP) == []


def test_times_that_go_back_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending order of time"):
        requests(["a", "a"], [2, 1], GAP)


LOG = st.lists(
    st.tuples(st.sampled_from(["a", "a/0", "ü"]), st.integers(0, 200)), min_size=1, max_size=60
)


@given(LOG, st.integers(2, 6), st.sampled_from([GAP, Rebuild(by="user_day")]))
def test_every_request_is_one_users_stretch_of_at_most_the_width(
    log: list[tuple[str, int]], width: int, rebuild: Rebuild
) -> None:
    log = sorted(log)
    users, times = [user for user, _ in log], [minute * 12 * MINUTE for _, minute in log]
    got = requests(users, times, rebuild, width)
    assert max(Counter(got).values()) <= width
    assert len({(user, request) for user, request in zip(users, got, strict=True)}) == len(set(got))
    changes = sum(a != b for a, b in pairwise(got))
    assert changes == len(set(got)) - 1  # each is one stretch


@given(LOG)
def test_a_users_requests_do_not_depend_on_other_users(log: list[tuple[str, int]]) -> None:
    log = sorted(log)
    users, times = [user for user, _ in log], [minute * 12 * MINUTE for _, minute in log]
    together = requests(users, times, GAP, 3)
    for user in set(users):
        own = [time for name, time in zip(users, times, strict=True) if name == user]
        among = [r for name, r in zip(users, together, strict=True) if name == user]
        assert requests([user] * len(own), own, GAP, 3) == among
