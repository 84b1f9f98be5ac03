"""Training batches: the dense stream in time order, the sparse answered stream mixed in beside it.

Answers are some ten thousand times rarer than views. Left in the dense stream they would be
drowned; shuffled or repeated they would leak the future. So ExampleGen keeps them apart (split
`answered`: pair groups in the order in which their newest answer arrived), and here every batch of
dense slates is followed by a fixed number of answered slates: first the groups whose answer arrived
since the previous batch, whole, and then, if asked for, answers replayed at random from those that
have *already* arrived. No batch ever sees an answer from its own future, and the same seed gives
the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.transform import ANSWER_LABEL, BEHAVIOUR_LABEL, MASK

Tensors = dict[str, tf.Tensor]
Batch = tuple[Tensors, Tensors]

LABELS = (BEHAVIOUR_LABEL, ANSWER_LABEL, "pair_group", "time", "group_time")
_PARSED_AHEAD = 1024


def slate_dataset(
    files: Sequence[str], parse: Callable[[tf.Tensor], Tensors], batch_size: int
) -> tf.data.Dataset:
    """Reads transformed slates in file order.

    Args:
        files: TFRecord files, read one after the other in this order.
        parse: Serialized examples `[n]` to transformed features.
        batch_size: Slates a batch; the last batch may be smaller.
    """
    records = tf.data.TFRecordDataset(list(files))
    # Parsing and transforming cost less per slate in large blocks than in training batches.
    block = max(batch_size, _PARSED_AHEAD // batch_size * batch_size)
    return (
        records.batch(block)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .rebatch(batch_size)
    )


@dataclass(frozen=True)
class AnsweredSlates:
    """The answered stream in memory, in the order in which answers arrived.

    Attributes:
        tensors: Transformed features and labels, first axis = slates.
        group_end: int64 `[groups]`, one past the last slate of each group.
        arrival: int64 ms `[groups]`, when the group's newest answer arrived; never decreasing.
    """

    tensors: Tensors
    group_end: np.ndarray
    arrival: np.ndarray

    @classmethod
    def from_batches(cls, batches: tf.data.Dataset) -> AnsweredSlates | None:
        """Collects the split `answered`; `None` where it holds no slate."""
        parts: list[dict[str, np.ndarray]] = list(batches.as_numpy_iterator())
        if not parts:
            return None
        tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        group, arrival = tensors["pair_group"], tensors["group_time"]
        last = np.flatnonzero(np.append(group[1:] != group[:-1], True))
        if np.any(np.diff(arrival[last]) < 0):
            raise ValueError(
                "split 'answered': groups are not in the order of group_time; expected "
                "ExampleGen's order. Run ExampleGen again."
            )
        constants = {name: tf.constant(value) for name, value in tensors.items()}
        return cls(constants, last.astype(np.int64) + 1, arrival[last])


def training_batches(
    dense: tf.data.Dataset,
    answered: AnsweredSlates | None,
    *,
    batch_size: int,
    answered_per_batch: int,
    replay: bool,
    seed: int,
) -> tf.data.Dataset:
    """Mixes both streams into batches of `batch_size + answered_per_batch` slates of static shape.

    Dense rows carry behaviour labels and no answers, answered rows carry answers and no behaviour
    labels. So each slate is trained once for behaviour (with its own batch of the dense stream) and
    its answers reach the satisfaction losses through the answered stream alone. Rows that are not
    filled have an all-zero mask.

    Args:
        dense: Transformed slates in time order, batched by `batch_size`; the last batch may be
            smaller.
        answered: The answered stream, or `None`.
        batch_size: Dense slates a batch.
        answered_per_batch: Answered slates a batch. A group that does not fit waits for the next
            batch; a group larger than this keeps its newest slates.
        replay: Whether free answered rows are filled with replayed answers (one slate each, no pair
            group).
        seed: Seed of the replay.

    Returns:
        A dataset of `(features, labels)`; labels are `behaviour` and `answer` float32 `[rows, W]`
        (−1: none) and `pair_group` int64 `[rows]` (−1: none).
    """
    dense = dense.map(
        lambda slates: _pad_rows(slates, batch_size), num_parallel_calls=tf.data.AUTOTUNE
    )
    if answered is None or answered_per_batch == 0:
        return dense.map(_dense_batch, num_parallel_calls=tf.data.AUTOTUNE)

    group_end = tf.constant(answered.group_end)
    group_start = tf.concat([tf.zeros([1], tf.int64), group_end[:-1]], axis=0)
    arrival = tf.constant(answered.arrival)
    room = answered_per_batch

    def pick(state: tuple[tf.Tensor, tf.Tensor], slates: Tensors):
        """Chooses the answered rows that follow one dense batch."""
        first_group, step = state
        now = tf.reduce_max(slates["time"])
        arrived = tf.searchsorted(arrival, [now], side="right", out_type=tf.int64)[0]
        # Whole groups, as many as there is room for; a larger group than the room keeps its newest
        # slates.
        start = group_start[tf.minimum(first_group, len(answered.group_end) - 1)]
        fits = tf.searchsorted(group_end, [start + room], side="right", out_type=tf.int64)[0]
        next_group = tf.minimum(arrived, tf.maximum(fits, first_group + 1))
        next_group = tf.maximum(next_group, first_group)
        end = tf.where(
            next_group > 0, group_end[tf.maximum(next_group, 1) - 1], tf.zeros([], tf.int64)
        )
        taken = tf.where(
            next_group > first_group, tf.minimum(end - start, room), tf.zeros([], tf.int64)
        )
        slot = tf.range(room, dtype=tf.int64)
        fresh = slot < taken
        rows = end - taken + slot
        if replay:
            draw = tf.random.stateless_uniform(
                [room],
                seed=tf.stack([tf.constant(seed, tf.int64), step]),
                maxval=tf.maximum(next_group, 1),
                dtype=tf.int64,
            )
            replayed = (
                tf.gather(group_end, draw) - 1
            )  # a group's last slate is its anchor, the answer itself
            filled = fresh | (next_group > 0)
            rows = tf.where(fresh, rows, replayed)
        else:
            filled = fresh
        rows = tf.where(filled, rows, tf.zeros_like(rows))
        return (next_group, step + 1), (slates, rows, fresh, filled)

    start_state = (tf.zeros([], tf.int64), tf.zeros([], tf.int64))
    picked = dense.scan(initial_state=start_state, scan_func=pick)

    def mix(slates: Tensors, rows: tf.Tensor, fresh: tf.Tensor, filled: tf.Tensor) -> Batch:
        gathered = {name: tf.gather(value, rows) for name, value in answered.tensors.items()}
        column = filled[:, None]
        gathered[MASK] = tf.where(column, gathered[MASK], 0)
        answers = tf.where(column, gathered[ANSWER_LABEL], -1.0)
        groups = tf.where(fresh, gathered["pair_group"], -1)
        features, labels = _dense_batch(slates)
        for name in features:
            features[name] = tf.concat([features[name], gathered[name]], axis=0)
        labels["behaviour"] = tf.concat([labels["behaviour"], -tf.ones_like(answers)], axis=0)
        labels["answer"] = tf.concat([labels["answer"], answers], axis=0)
        labels["pair_group"] = tf.concat([labels["pair_group"], groups], axis=0)
        return features, labels

    return picked.map(mix, num_parallel_calls=tf.data.AUTOTUNE)


def _pad_rows(slates: Tensors, rows: int) -> Tensors:
    """Fills the last batch up to the static number of rows with slates of no candidate."""
    missing = rows - tf.shape(slates[MASK])[0]
    padded = {}
    for name, value in slates.items():
        padding = [[0, missing]] + [[0, 0]] * (value.shape.rank - 1)
        label = -1 if name in (BEHAVIOUR_LABEL, ANSWER_LABEL, "pair_group") else 0
        value = tf.pad(value, padding, constant_values=tf.cast(label, value.dtype))
        padded[name] = tf.ensure_shape(value, [rows, *value.shape[1:]])
    return padded


def _dense_batch(slates: Tensors) -> Batch:
    features = {name: value for name, value in slates.items() if name not in LABELS}
    behaviour = slates[BEHAVIOUR_LABEL]
    return features, {
        "behaviour": behaviour,
        "answer": -tf.ones_like(behaviour),
        "pair_group": -tf.ones_like(slates["pair_group"]),
    }
