"""How answered slates are mixed into the dense stream: whole groups, in time order, never from the
future.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import training_input
from pipeline.training_input import AnsweredSlates, training_batches

WIDTH = 2


def dense_slates(times, batch_size):
    """Slates of two candidates; the feature `x` of slate i is i + 1."""
    count = len(times)
    slates = {
        "x": np.arange(1, count + 1, dtype=np.int64),
        "mask": np.ones([count, WIDTH], np.int64),
        "behaviour_level": np.tile(np.float32([1, 0]), [count, 1]),
        "answer_label": np.tile(np.float32([1, -1]), [count, 1]),
        "pair_group": np.full([count], -1, np.int64),
        "time": np.array(times, np.int64),
        "group_time": np.array(times, np.int64),
    }
    return tf.data.Dataset.from_tensor_slices(slates).batch(batch_size)


def answered_slates(groups):
    """`groups` is a list of (arrival, [x of each slate]); the last slate of a group is its
    anchor. Of each slate, the first candidate was shown.
    """
    rows = [(group, arrival, x) for group, (arrival, xs) in enumerate(groups) for x in xs]
    count = len(rows)
    slates = {
        "x": np.array([x for _, _, x in rows], np.int64),
        "mask": np.ones([count, WIDTH], np.int64),
        "behaviour_level": np.tile(np.float32([1, -1]), [count, 1]),
        "answer_label": np.tile(np.float32([1, -1]), [count, 1]),
        "pair_group": np.array([group for group, _, _ in rows], np.int64),
        "time": np.zeros([count], np.int64),
        "group_time": np.array([arrival for _, arrival, _ in rows], np.int64),
    }
    return AnsweredSlates.from_batches(tf.data.Dataset.from_tensor_slices(slates).batch(3))


def batches(times, groups, *, batch_size=2, room=3, replay=False, seed=0, memory=None, step=0):
    answered = answered_slates(groups)
    if memory is not None:
        answered = answered.after(memory)
    dataset = training_batches(
        dense_slates(times, batch_size),
        answered,
        batch_size=batch_size,
        answered_per_batch=room,
        replay=replay,
        seed=seed,
        first_step=step,
    )
    return list(dataset.as_numpy_iterator())


def answered_part(batch, batch_size=2):
    """(x, pair group) of the filled answered rows."""
    features, labels = batch
    filled = features["mask"][batch_size:, 0] > 0
    x = features["x"][batch_size:][filled]
    return list(zip(x.tolist(), labels["pair_group"][batch_size:][filled].tolist(), strict=True))


def test_a_group_follows_the_first_batch_that_is_not_older_than_its_answer():
    first, second, third = batches([10, 20, 30, 40, 50, 60], [(25, [101]), (45, [102, 103])])
    assert answered_part(first) == []
    assert answered_part(second) == [(101, 0)]
    assert answered_part(third) == [(102, 1), (103, 1)]


def test_groups_that_do_not_fit_wait_and_stay_whole():
    groups = [(5, [101, 102]), (5, [103, 104]), (5, [105])]
    first, second, third = batches([10, 20, 30, 40, 50, 60], groups)
    assert answered_part(first) == [(101, 0), (102, 0)]  # the next two would be four in three rows
    assert answered_part(second) == [(103, 1), (104, 1), (105, 2)]
    assert answered_part(third) == []


def test_a_group_larger_than_the_room_keeps_its_newest_slates():
    (first,) = batches([10, 20], [(5, [101, 102, 103, 104])], room=3)
    assert answered_part(first) == [(102, 0), (103, 0), (104, 0)]


def test_dense_rows_carry_behaviour_and_answered_rows_carry_answers():
    ((features, labels),) = batches([10, 20], [(5, [101])], room=2)
    np.testing.assert_array_equal(labels["behaviour"], [[1, 0], [1, 0], [-1, -1], [-1, -1]])
    np.testing.assert_array_equal(labels["answer"], [[-1, -1], [-1, -1], [1, -1], [-1, -1]])
    np.testing.assert_array_equal(labels["exposed"], [[1, 1], [1, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(labels["pair_group"], [-1, -1, 0, -1])
    np.testing.assert_array_equal(features["mask"][:, 0], [1, 1, 1, 0])
    assert set(features) == {"x", "mask"}


def test_the_last_batch_is_filled_up_with_empty_slates():
    *_, (features, labels) = batches([10, 20, 30], [(5, [101])], room=1)
    np.testing.assert_array_equal(features["mask"][:, 0], [1, 0, 0])
    np.testing.assert_array_equal(labels["behaviour"], [[1, 0], [-1, -1], [-1, -1]])


def test_replay_fills_free_rows_with_single_anchors_that_have_arrived():
    groups = [(5, [101, 102]), (35, [103]), (1000, [104])]
    first, second = batches([10, 20, 30, 40], groups, room=6, replay=True)
    assert answered_part(first)[:2] == [(101, 0), (102, 0)]
    assert answered_part(first)[2:] == [(102, -1)] * 4
    assert answered_part(second)[0] == (103, 1)
    replayed = answered_part(second)[1:]
    assert len(replayed) == 5
    assert {x for x, _ in replayed} <= {102, 103}
    assert {group for _, group in replayed} == {-1}


def test_a_seed_repeats_its_batches():
    groups = [(5, [x]) for x in range(100, 120)]
    times = list(range(10, 50))
    same = [
        [answered_part(batch) for batch in batches(times, groups, room=20, replay=True, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_without_answers_the_answered_rows_are_empty():
    ((features, labels),) = batches([10, 20], [], room=1, replay=True)
    assert features["x"][:2].tolist() == [1, 2]
    np.testing.assert_array_equal(features["mask"][:, 0], [1, 1, 0])
    assert (labels["answer"] == -1).all()
    assert labels["pair_group"].tolist() == [-1, -1, -1]


def test_without_room_for_answers_there_are_dense_rows_alone():
    ((features, labels),) = batches([10, 20], [(5, [101])], room=0)
    assert features["x"].tolist() == [1, 2]
    assert labels["exposed"].tolist() == [[1, 1], [1, 1]]


def test_the_next_span_replays_what_the_last_one_learnt_and_freshens_what_waited():
    first = answered_slates([(5, [101, 102]), (6, [103]), (7, [104, 105])])
    memory = first.remembered(learnt=2, limit=10)
    assert memory.tensors["x"].tolist() == [102, 103, 104, 105]  # anchors, then what waits
    one, two = batches([80, 90, 95, 99], [(92, [201])], room=4, replay=True, memory=memory)
    # The span counts its groups from 0 again, and three groups were before its first one.
    assert answered_part(one)[:2] == [(104, 2), (105, 2)]
    assert {x for x, _ in answered_part(one)[2:]} <= {102, 103, 105}
    assert answered_part(two)[0] == (201, 3)


def test_of_what_was_learnt_the_newest_anchors_are_remembered():
    stream = answered_slates([(5, [101, 102]), (6, [103]), (7, [104, 105]), (8, [106])])
    memory = stream.remembered(learnt=3, limit=2)
    assert memory.tensors["x"].tolist() == [103, 105, 106]
    assert memory.learnt == 2
    assert memory.group_end.tolist() == [1, 2, 3]
    again = memory.remembered(learnt=3, limit=0)
    assert len(again) == 0


def test_a_memory_comes_back_from_its_file(tmp_path):
    memory = answered_slates([(5, [101, 102]), (6, [103])]).remembered(learnt=1, limit=5)
    memory.save(tmp_path / "memory.npz")
    loaded = AnsweredSlates.load(tmp_path / "memory.npz")
    for field in dataclasses.fields(memory):
        np.testing.assert_equal(getattr(loaded, field.name), getattr(memory, field.name))


def test_a_pass_cut_in_two_replays_as_the_whole_one_did():
    groups = [(5, [101]), (15, [102, 103]), (35, [104])]
    whole = batches([10, 20, 30, 40], groups, room=5, replay=True, seed=3)
    first = batches([10, 20], groups[:2], room=5, replay=True, seed=3)
    memory = answered_slates(groups[:2]).remembered(learnt=2, limit=10)
    second = batches(
        [30, 40], groups[2:], room=5, replay=True, seed=3, memory=memory, step=len(first)
    )
    cut = [answered_part(batch) for batch in (*first, *second)]
    assert cut == [answered_part(batch) for batch in whole]


def test_an_answered_split_out_of_order_is_refused():
    with pytest.raises(ValueError, match="not in the order of group_time"):
        answered_slates([(50, [101]), (40, [102])])


@settings(max_examples=25)
@given(
    gaps=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    groups=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), min_size=1, max_size=10),
    room=st.integers(1, 6),
)
def test_every_arrived_group_is_fresh_once_in_order_and_never_early(gaps, groups, room):
    times = np.cumsum(gaps).tolist()
    arrivals = np.cumsum([gap for gap, _ in groups]).tolist()
    slate = iter(range(1000, 2000))
    made = [
        (arrival, [next(slate) for _ in range(size)])
        for arrival, (_, size) in zip(arrivals, groups, strict=True)
    ]
    seen = []
    for step, batch in enumerate(batches(times, made, room=room)):
        now = max(times[2 * step : 2 * step + 2])
        part = answered_part(batch)
        assert all(arrivals[group] <= now for _, group in part)
        for group in sorted({group for _, group in part}):
            assert [x for x, g in part if g == group] == made[group][1][-room:]
            seen.append(group)
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("replay", [False, True], ids=["fresh alone", "replay"])
def test_batches_mixed_many_at_once_are_those_mixed_one_by_one(monkeypatch, replay):
    times = list(range(0, 210, 10))  # eleven batches, the last of one slate
    groups = [(5 * number, [100 + number] * (number % 3 + 1)) for number in range(30)]
    mixed = []
    for at_once in (1, 2 * 4, 2 * 100):
        monkeypatch.setattr(training_input, "_BLOCK", at_once)
        mixed.append(batches(times, groups, replay=replay, seed=3, step=7))
    one_by_one, *others = mixed
    assert len(one_by_one) == 11
    for other in others:
        for expected, found in zip(one_by_one, other, strict=True):
            for expected_part, found_part in zip(expected, found, strict=True):
                assert expected_part.keys() == found_part.keys()
                for name, value in expected_part.items():
                    np.testing.assert_array_equal(found_part[name], value, err_msg=name)


def test_what_is_replayed_depends_on_the_number_of_the_batch_and_the_seed_alone():
    answers = [(0, [100 + number]) for number in range(9)]
    whole = batches(list(range(10, 130, 10)), answers, room=9, replay=True, seed=1)
    # All have been fresh in the first batch: from the second on everything is replayed.
    memory = answered_slates(answers).remembered(learnt=9, limit=9)
    later = batches([50, 60], [], room=9, replay=True, seed=1, memory=memory, step=2)
    np.testing.assert_array_equal(later[0][0]["x"][2:], whole[2][0]["x"][2:])
    other = batches([50, 60], [], room=9, replay=True, seed=2, memory=memory, step=2)
    assert (other[0][0]["x"][2:] != whole[2][0]["x"][2:]).any()
