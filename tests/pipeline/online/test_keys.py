"""Keys of rows and the choice of held-out users: the same in every process, independent."""

import numpy as np
import pyarrow as pa

from pipeline.online.keys import found_in, held_out, keys_of

USERS = pa.chunked_array([[f"user {number}" for number in range(10_000)]])


def test_equal_rows_have_equal_keys_and_others_have_others():
    first = pa.chunked_array([["a", "ab", "a"], ["ä", "a"]])
    second = pa.chunked_array([["bc", "c", "bc", "c", "b"]])
    keys = keys_of(first, second)
    assert keys[0] == keys[2]
    assert len(set(keys.tolist())) == 4
    assert keys_of(second, first)[0] != keys[0]


def test_keys_are_the_same_in_every_process():
    keys = keys_of(pa.chunked_array([["a", "ä"]]), pa.chunked_array([["b", "c"]]))
    assert keys.tolist() == [3654276373218477943, 1825905140312472810]


def test_a_tenth_of_the_users_is_held_out_and_always_the_same():
    held = held_out(USERS, 0.1)
    assert held.sum() == 1003
    assert np.flatnonzero(held)[:4].tolist() == [8, 24, 31, 43]
    assert not held_out(USERS, 0.0).any()


def test_more_held_out_users_are_the_same_ones_and_others():
    few, many = held_out(USERS, 0.1), held_out(USERS, 0.5)
    assert (many | ~few).all()
    assert 4800 < many.sum() < 5200


def test_keys_are_found_among_sorted_ones():
    known = np.array([2, 5, 9], np.uint64)
    keys = np.array([9, 1, 5, 10], np.uint64)
    assert found_in(keys, known).tolist() == [True, False, True, False]
    assert found_in(keys, known[:0]).tolist() == [False] * 4
