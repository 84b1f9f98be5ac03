"""Where the log is cut in time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.example_gen.time_plan import TimeHistogram, TimePlan

SECOND = 1000


def plan(seconds, eval_fraction=0.25, rows_per_file=100):
    histogram = TimeHistogram.of(np.array(seconds, np.int64) * SECOND)
    return TimePlan.of(histogram, eval_fraction, rows_per_file)


def test_the_last_part_of_the_rows_is_for_evaluation():
    assert plan([10, 11, 12, 13]).split_time_ms == 13 * SECOND
    assert plan([10, 11, 12, 13], eval_fraction=0.5).split_time_ms == 12 * SECOND
    # A fifth of four rows is less than one row.
    assert plan([10, 11, 12, 13], eval_fraction=0.2).split_time_ms == 14 * SECOND
    # Rows of one second stay together, and the evaluation gets the smaller part.
    assert plan([10, 11, 12, 12, 12, 12]).split_time_ms == 13 * SECOND


def test_fractions_are_not_spoilt_by_rounding():
    assert plan(range(10), eval_fraction=0.7).split_time_ms == 3 * SECOND
    assert plan(range(10), eval_fraction=0.1).split_time_ms == 9 * SECOND


def test_files_hold_about_as_many_rows_as_asked_for():
    cut = plan([0, 1, 2, 3, 4, 5, 6, 7], eval_fraction=0.5, rows_per_file=3)
    # Training: rows 0 1 2 | 3, evaluation: 4 5 | 6 7.
    assert cut.file_starts_ms == (0, 3 * SECOND, 4 * SECOND, 6 * SECOND)
    assert cut.file_of(np.array([0, 2999, 3000, 4500, 7000, 99_000])).tolist() == [
        0, 0, 1, 2, 3, 3,
    ]  # fmt: skip
    assert [cut.place_of_file(file) for file in range(4)] == [
        ("train", 0),
        ("train", 1),
        ("eval", 0),
        ("eval", 1),
    ]


def test_a_log_of_one_second_is_all_for_training():
    assert plan([5, 5, 5]) == TimePlan(6 * SECOND, (5 * SECOND,))
    assert plan([5, 5, 5]).place_of_file(0) == ("train", 0)


def test_no_rows():
    assert plan([]) == TimePlan(0, (0,))


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.floats(0.05, 0.95),
    st.integers(1, 20),
)
def test_no_file_crosses_the_split_and_later_files_hold_later_rows(seconds, fraction, per_file):
    cut = plan(seconds, fraction, per_file)
    time = np.sort(np.array(seconds)) * SECOND
    file = cut.file_of(time)
    assert (np.diff(file) >= 0).all()
    assert ((time >= cut.split_time_ms).sum()) <= fraction * len(seconds) + 1e-6
    for number in np.unique(file):
        evaluated = time[file == number] >= cut.split_time_ms
        assert evaluated.all() == evaluated.any() == (cut.place_of_file(number)[0] == "eval")
        full = np.bincount(time[file == number] // SECOND)
        assert full.sum() - full.max() <= per_file + full.max()


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(0, 9000), max_size=20), max_size=5))
def test_histograms_of_parts_add_up(parts):
    summed = TimeHistogram.sum(TimeHistogram.of(np.array(part, np.int64)) for part in parts)
    whole = TimeHistogram.of(np.array([time for part in parts for time in part], np.int64))
    assert summed.second.tolist() == whole.second.tolist()
    assert summed.rows.tolist() == whole.rows.tolist()
