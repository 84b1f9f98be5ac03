"""What of the training input is one worker's: every record of exactly one, groups whole."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training_input import AnsweredSlates
from pipeline.training_share import Share, filled


@pytest.fixture
def files(tmp_path):
    """Five files of 3, 4, 2, 5 and 1 records; the first record of the second file is b"1/0"."""
    paths = []
    for number, count in enumerate([3, 4, 2, 5, 1]):
        paths.append(str(tmp_path / f"slates-{number:05d}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for record in range(count):
                writer.write(f"{number}/{record}".encode())
    return paths


def records(share, files):
    return [record.decode() for record in share.records(files).as_numpy_iterator()]


def test_files_are_dealt_whole_and_the_rest_record_by_record(files):
    first = records(Share(0, 2), files)
    second = records(Share(1, 2), files)
    assert first == ["0/0", "0/1", "0/2", "2/0", "2/1", "4/0"]
    assert second == ["1/0", "1/1", "1/2", "1/3", "3/0", "3/1", "3/2", "3/3", "3/4"]
    assert (Share(0, 2).count(files), Share(1, 2).count(files)) == (6, 9)


def test_fewer_files_than_workers_are_dealt_record_by_record(files):
    shares = [records(Share(worker, 3), files[3:]) for worker in range(3)]
    assert shares == [["3/0", "3/3"], ["3/1", "3/4"], ["3/2", "4/0"]]
    assert records(Share(0, 1), files) == [
        record for worker in range(5) for record in records(Share(worker, 5), files)
    ]


def test_a_log_without_files_has_no_records():
    assert Share(0, 2).count([]) == 0


def test_a_worker_without_slates_left_brings_empty_batches():
    batch = (
        {"x": np.ones([2, 3], np.int64), "mask": np.ones([2, 3], np.int64)},
        {
            "behaviour": np.ones([2, 3], np.float32),
            "answer": np.ones([2, 3], np.float32),
            "exposed": np.ones([2, 3], np.float32),
            "pair_group": np.ones([2], np.int64),
        },
    )
    one = tf.data.Dataset.from_tensors(batch)
    first, second, third = filled(one, 3).as_numpy_iterator()
    np.testing.assert_array_equal(first[0]["mask"], batch[0]["mask"])
    for features, labels in (second, third):
        assert not features["mask"].any()
        assert not labels["exposed"].any()
        assert all((labels[name] == -1).all() for name in ("behaviour", "answer", "pair_group"))
    assert len(list(filled(one.repeat(4), 3))) == 3


def answered(sizes, learnt=0):
    """Groups of these sizes; group g arrives at 10 g, its slates have `x` of 100 g and more."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = np.concatenate([100 * g + np.arange(size) for g, size in enumerate(sizes)] or [group])
    tensors = {"x": x, "pair_group": group}
    arrival = 10 * np.arange(len(sizes))
    return AnsweredSlates(tensors, np.cumsum(sizes).astype(np.int64), arrival, learnt)


def slates(stream):
    return stream.tensors["x"].tolist()


def test_groups_are_dealt_whole_and_in_their_order():
    stream = answered([1, 2, 1, 3], learnt=3)
    first, second = stream.dealt(0, 2), stream.dealt(1, 2)
    assert (slates(first), slates(second)) == ([0, 200], [100, 101, 300, 301, 302])
    assert (first.group_end.tolist(), second.group_end.tolist()) == ([1, 2], [2, 5])
    assert (first.arrival.tolist(), second.arrival.tolist()) == ([0, 20], [10, 30])
    assert (first.learnt, second.learnt) == (2, 1)  # groups 0 and 2, and group 1


def test_after_a_pass_what_any_worker_has_learnt_comes_first():
    stream = answered([1, 2, 1, 3, 1])
    # Of its groups 0, 2, 4 the first worker has learnt one, of 1, 3 the second both.
    after = stream.learnt_by([1, 2])
    assert slates(after) == [0, 100, 101, 300, 301, 302, 200, 400]
    assert after.learnt == 3
    assert after.group_end.tolist() == [1, 3, 6, 7, 8]
    assert after.arrival.tolist() == [0, 10, 30, 20, 40]
    # What is remembered: the anchors of the newest two, and all that waits.
    assert slates(after.remembered(after.learnt, limit=2)) == [101, 302, 200, 400]


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 3), max_size=8), workers=st.integers(1, 4), data=st.data())
def test_no_group_is_lost_and_none_is_two_workers(sizes, workers, data):
    stream = answered(sizes)
    parts = [stream.dealt(worker, workers) for worker in range(workers)]
    assert sorted(x for part in parts for x in slates(part)) == slates(stream)
    learnt = [data.draw(st.integers(0, len(part.arrival))) for part in parts]
    after = stream.learnt_by(learnt)
    assert sorted(slates(after)) == slates(stream)
    expected = {
        x
        for part, number in zip(parts, learnt, strict=True)
        for x in slates(part)[: part.group_end[number - 1] if number else 0]
    }
    end = after.group_end[after.learnt - 1] if after.learnt else 0
    assert set(slates(after)[:end]) == expected
