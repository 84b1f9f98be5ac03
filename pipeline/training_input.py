"""Training batches: the dense stream in time order, the sparse answered stream mixed in beside it.

Answers are some ten thousand times rarer than views. Left in the dense stream they would be
drowned; shuffled or repeated they would leak the future. So ExampleGen keeps them apart (split
`answered`: pair groups in the order in which their newest answer arrived), and here every batch of
dense slates is followed by a fixed number of answered slates: first the groups whose answer arrived
since the previous batch, whole, and then, if asked for, answers replayed at random from those that
have *already* arrived. No batch ever sees an answer from its own future, and the same seed gives
the same batches. What has arrived is remembered from one pass to the next (`AnsweredSlates.after`),
so that training can go on with the next span of a log.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.transform import ANSWER_LABEL, BEHAVIOUR_LABEL, MASK

Tensors = dict[str, tf.Tensor]
Batch = tuple[Tensors, Tensors]

LABELS = (BEHAVIOUR_LABEL, ANSWER_LABEL, "pair_group", "time", "group_time")
# Slates that are parsed, transformed and mixed at once.
_BLOCK = 1024
# The next block of batches is made while one is trained on.
_BLOCKS_AHEAD = 1
_EVER = np.iinfo(np.int64).min
_NEVER = np.iinfo(np.int64).max


def slate_dataset(
    records: tf.data.Dataset, parse: Callable[[tf.Tensor], Tensors]
) -> tf.data.Dataset:
    """Transforms slates, in the order of their records.

    They come in blocks, which cost less per slate to parse and transform than training batches;
    the last block may be smaller.

    Args:
        records: Serialized examples.
        parse: Serialized examples `[n]` to transformed features.
    """
    return records.batch(_BLOCK).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


@dataclass(frozen=True)
class AnsweredSlates:
    """The answered stream in memory, in the order in which answers arrived.

    Attributes:
        tensors: Transformed features and labels, first axis = slates.
        group_end: int64 `[groups]`, one past the last slate of each group.
        arrival: int64 ms `[groups]`, when the group's newest answer arrived; never decreasing.
        learnt: The first so many groups were fresh in an earlier pass and are only replayed.
    """

    tensors: dict[str, np.ndarray]
    group_end: np.ndarray
    arrival: np.ndarray
    learnt: int = 0

    @classmethod
    def from_batches(cls, batches: tf.data.Dataset) -> AnsweredSlates:
        """Collects the split `answered`, which may be empty."""
        parts = list(batches.as_numpy_iterator())
        if not parts:
            parts = [
                {
                    name: np.zeros([0, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
                    for name, spec in batches.element_spec.items()
                }
            ]
        tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        group, arrival = tensors["pair_group"], tensors["group_time"]
        last = np.flatnonzero(np.append(group[1:] != group[:-1], True)[: len(group)])
        if np.any(np.diff(arrival[last]) < 0):
            raise ValueError(
                "split 'answered': groups are not in the order of group_time; expected "
                "ExampleGen's order. Run ExampleGen again."
            )
        return cls(tensors, last.astype(np.int64) + 1, arrival[last])

    def after(self, memory: AnsweredSlates) -> AnsweredSlates:
        """The stream that goes on after an earlier one.

        Args:
            memory: What `remembered` returned at the end of the earlier pass. All of it has
                arrived; groups that were never fresh are so in the first batches.
        """
        tensors = {
            name: np.concatenate([memory.tensors[name], value])
            for name, value in self.tensors.items()
        }
        earlier = len(memory.tensors["pair_group"])
        group_end = np.concatenate([memory.group_end, self.group_end + earlier])
        # Each span counts its groups from 0.
        sizes = np.diff(group_end, prepend=0)
        tensors["pair_group"] = np.repeat(np.arange(len(group_end), dtype=np.int64), sizes)
        arrived = np.full(len(memory.group_end), _EVER)
        return replace(
            memory,
            tensors=tensors,
            group_end=group_end,
            arrival=np.concatenate([arrived, self.arrival]),
        )

    def remembered(self, learnt: int, limit: int) -> AnsweredSlates:
        """What the next pass needs of this one.

        Args:
            learnt: How many groups, from the first, have been fresh by now. Of them only the
                anchors are kept, which is what is replayed; the others stay whole.
            limit: The most learnt groups to keep; the newest are.
        """
        kept = np.arange(max(learnt - limit, 0), learnt)
        waiting = np.arange(self.group_end[learnt - 1] if learnt else 0, len(self))
        rows = np.concatenate([self.group_end[kept] - 1, waiting]).astype(np.int64)
        shrunk = len(self) - len(rows)
        group_end = np.concatenate([np.arange(len(kept)) + 1, self.group_end[learnt:] - shrunk])
        return AnsweredSlates(
            {name: value[rows] for name, value in self.tensors.items()},
            group_end.astype(np.int64),
            np.concatenate([self.arrival[kept], self.arrival[learnt:]]),
            learnt=len(kept),
        )

    def dealt(self, worker: int, workers: int) -> AnsweredSlates:
        """One worker's groups: group g is worker g mod workers' and of nobody else.

        Args:
            worker: Its number, from 0 on.
            workers: How many there are.
        """
        sizes = np.diff(self.group_end, prepend=0)
        rows = np.repeat(np.arange(len(sizes)) % workers == worker, sizes)
        return AnsweredSlates(
            {name: value[rows] for name, value in self.tensors.items()},
            np.cumsum(sizes[worker::workers]),
            self.arrival[worker::workers],
            learnt=len(range(worker, self.learnt, workers)),
        )

    def learnt_by(self, learnt: Sequence[int]) -> AnsweredSlates:
        """All groups once workers have learnt theirs: learnt ones first, else in their order.

        Args:
            learnt: By worker, how many of its groups, from the first, have been fresh by now.
        """
        workers, groups = len(learnt), np.arange(len(self.group_end))
        is_learnt = groups // workers < np.asarray(learnt)[groups % workers]
        order = np.argsort(~is_learnt, kind="stable")
        sizes = np.diff(self.group_end, prepend=0)
        of_group = np.split(np.arange(len(self)), self.group_end[:-1])
        rows = np.concatenate([of_group[group] for group in order]) if len(order) else order
        return AnsweredSlates(
            {name: value[rows] for name, value in self.tensors.items()},
            np.cumsum(sizes[order]),
            self.arrival[order],
            learnt=int(is_learnt.sum()),
        )

    def without(self, slates: np.ndarray) -> AnsweredSlates:
        """What is left when some slates are taken out.

        Args:
            slates: bool `[slates]`, which ones. A group of which the anchor, its last slate, is
                among them goes as a whole.
        """
        sizes = np.diff(self.group_end, prepend=0)
        stays = ~slates[self.group_end - 1]
        rows = np.repeat(stays, sizes) & ~slates
        left = np.add.reduceat(rows, self.group_end - sizes) if len(sizes) else sizes
        return AnsweredSlates(
            {name: value[rows] for name, value in self.tensors.items()},
            np.cumsum(left[stays]).astype(np.int64),
            self.arrival[stays],
            learnt=int(stays[: self.learnt].sum()),
        )

    def __len__(self) -> int:
        return len(self.tensors["pair_group"])

    def save(self, path: Path | BinaryIO) -> None:
        """Writes an uncompressed `.npz` file."""
        arrays = {f"slates/{name}": value for name, value in self.tensors.items()}
        np.savez(path, group_end=self.group_end, arrival=self.arrival, learnt=self.learnt, **arrays)

    @classmethod
    def load(cls, path: Path) -> AnsweredSlates:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is that of another content")
            with np.load(path, allow_pickle=False) as file:
                tensors = {
                    name.removeprefix("slates/"): file[name]
                    for name in file.files
                    if name.startswith("slates/")
                }
                return cls(tensors, file["group_end"], file["arrival"], int(file["learnt"]))
        # What the zip format can be broken in, its libraries tell in many ways.
        except (
            zipfile.BadZipFile,
            zlib.error,
            ValueError,
            KeyError,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            struct.error,
        ) as error:
            raise ValueError(f"{path} is damaged ({error}). Use an older checkpoint.") from error


def training_batches(
    dense: tf.data.Dataset,
    answered: AnsweredSlates,
    *,
    batch_size: int,
    answered_per_batch: int,
    replay: bool,
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Mixes both streams into batches of `batch_size + answered_per_batch` slates of static shape.

    Dense rows carry behaviour labels and no answers, answered rows carry answers and no behaviour
    labels. So each slate is trained once for behaviour (with its own batch of the dense stream) and
    its answers reach the satisfaction losses through the answered stream alone. Rows that are not
    filled have an all-zero mask.

    Args:
        dense: Transformed slates in time order, in batches of any size.
        answered: The answered stream.
        batch_size: Dense slates a batch.
        answered_per_batch: Answered slates a batch. A group that does not fit waits for the next
            batch; a group larger than this keeps its newest slates.
        replay: Whether free answered rows are filled with replayed answers (one slate each, no pair
            group).
        seed: Seed of the replay.
        first_step: Number of the first batch: what is replayed depends on it and the seed alone.

    Returns:
        A dataset of `(features, labels)`; labels are `behaviour` and `answer` float32 `[rows, W]`
        (−1: none), `exposed` float32 `[rows, W]` (1 shown, 0 not) and `pair_group` int64 `[rows]`
        (−1: none).
    """
    # Mixing costs by the operation and not by the row: the rows of many steps are mixed at once.
    at_once = max(1, _BLOCK // batch_size)
    blocks = dense.rebatch(at_once * batch_size).map(
        lambda slates: _steps(slates, batch_size), num_parallel_calls=tf.data.AUTOTUNE
    )
    if answered_per_batch == 0:
        batches = blocks.map(_dense_batch, num_parallel_calls=tf.data.AUTOTUNE)
        return batches.prefetch(_BLOCKS_AHEAD).unbatch()

    if len(answered) == 0:
        answered = _nobody_answered(answered)
    tensors = {name: tf.constant(value) for name, value in answered.tensors.items()}
    choice = _Choice(answered, answered_per_batch, replay, seed)

    def pick(state: tuple[tf.Tensor, tf.Tensor], slates: Tensors):
        """Chooses the answered rows that follow the dense batches of a block."""
        now = tf.reduce_max(slates["time"], axis=1)
        kinds = [tf.int64, tf.int64, tf.bool, tf.bool]
        learnt, *rows = tf.numpy_function(choice.rows, [*state, now], kinds)
        for part in rows:
            part.set_shape([None, answered_per_batch])
        learnt.set_shape([])
        step = state[1] + tf.shape(now, tf.int64)[0]
        return (learnt, step), (slates, *rows)

    start_state = (tf.constant(answered.learnt, tf.int64), tf.constant(first_step, tf.int64))
    picked = blocks.scan(initial_state=start_state, scan_func=pick)

    def mix(slates: Tensors, rows: tf.Tensor, fresh: tf.Tensor, filled: tf.Tensor) -> Batch:
        gathered = {name: tf.gather(value, rows) for name, value in tensors.items()}
        column = filled[:, :, None]
        gathered[MASK] = tf.where(column, gathered[MASK], 0)
        answers = tf.where(column, gathered[ANSWER_LABEL], -1.0)
        groups = tf.where(fresh, gathered["pair_group"], -1)
        features, labels = _dense_batch(slates)
        for name in features:
            features[name] = tf.concat([features[name], gathered[name]], axis=1)
        labels["behaviour"] = tf.concat([labels["behaviour"], -tf.ones_like(answers)], axis=1)
        labels["answer"] = tf.concat([labels["answer"], answers], axis=1)
        exposed = tf.where(column, _exposed(gathered[BEHAVIOUR_LABEL]), 0.0)
        labels["exposed"] = tf.concat([labels["exposed"], exposed], axis=1)
        labels["pair_group"] = tf.concat([labels["pair_group"], groups], axis=1)
        return features, labels

    mixed = picked.map(mix, num_parallel_calls=tf.data.AUTOTUNE)
    return with_own_threads(mixed.prefetch(_BLOCKS_AHEAD).unbatch())


def with_own_threads(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset, run by threads of its own.

    On one core TensorFlow has one thread for all. A training step holds it while it waits for its
    batch, and a Python function that the batch needs would wait for it for ever.
    """
    options = tf.data.Options()
    options.threading.private_threadpool_size = max(2, len(os.sched_getaffinity(0)))
    return dataset.with_options(options)


class _Choice:
    """Which answered rows follow each dense batch."""

    def __init__(self, answered: AnsweredSlates, room: int, replay: bool, seed: int) -> None:
        self._arrival, self._end = answered.arrival, answered.group_end
        self._room, self._replay, self._seed = room, replay, seed
        self._start = np.concatenate([[0], self._end[:-1]])
        # By group: one past those that fit into one batch with it, it alone at least.
        whole = np.searchsorted(self._end, self._start + room, side="right")
        self._fits = np.maximum(whole, np.arange(len(self._end)) + 1)

    def rows(
        self, first_group: np.int64, first_step: np.int64, now: NDArray[np.int64]
    ) -> tuple[np.int64, NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """The rows of some batches.

        Args:
            first_group: One past the groups that were learnt before.
            first_step: Number of the first batch.
            now: `[batches]`, the time of each.

        Returns:
            One past the groups that are learnt by the end, and `[batches, room]`: the rows, whether
            each is fresh, and whether it is filled at all.
        """
        shape = len(now), self._room
        rows, fresh = np.zeros(shape, np.int64), np.zeros(shape, bool)
        filled = np.zeros(shape, bool)
        learnt = int(first_group)
        for at, arrived in enumerate(np.searchsorted(self._arrival, now, side="right")):
            taken = 0
            if arrived > learnt:
                start, learnt = self._start[learnt], min(int(arrived), int(self._fits[learnt]))
                # A group larger than the room keeps its newest slates.
                end = self._end[learnt - 1]
                taken = int(min(end - start, self._room))
                rows[at, :taken] = np.arange(end - taken, end)
            fresh[at, :taken] = filled[at, :taken] = True
            if self._replay and learnt > 0:
                chance = np.random.Generator(np.random.Philox(key=[self._seed, first_step + at]))
                drawn = chance.integers(learnt, size=self._room - taken)
                # A group's last slate is its anchor, the answer itself.
                rows[at, taken:] = self._end[drawn] - 1
                filled[at] = True
        return np.int64(learnt), rows, fresh, filled


def _nobody_answered(empty: AnsweredSlates) -> AnsweredSlates:
    """One group of an empty slate that never arrives: batches keep their shape."""
    tensors = {
        name: np.zeros([1, *value.shape[1:]], value.dtype) for name, value in empty.tensors.items()
    }
    return AnsweredSlates(tensors, np.array([1]), np.array([_NEVER]))


def _exposed(behaviour: tf.Tensor) -> tf.Tensor:
    return tf.cast(behaviour >= 0, tf.float32)


def _steps(slates: Tensors, rows: int) -> Tensors:
    """Slates `[n, …]` as `[steps, rows, …]`, the last step filled with slates of no candidate."""
    missing = -tf.shape(slates[MASK])[0] % rows
    steps = {}
    for name, value in slates.items():
        padding = [[0, missing]] + [[0, 0]] * (value.shape.rank - 1)
        label = -1 if name in (BEHAVIOUR_LABEL, ANSWER_LABEL, "pair_group") else 0
        value = tf.pad(value, padding, constant_values=tf.cast(label, value.dtype))
        steps[name] = tf.reshape(value, [-1, rows, *value.shape[1:]])
    return steps


def _dense_batch(slates: Tensors) -> Batch:
    features = {name: value for name, value in slates.items() if name not in LABELS}
    behaviour = slates[BEHAVIOUR_LABEL]
    return features, {
        "behaviour": behaviour,
        "answer": -tf.ones_like(behaviour),
        "exposed": _exposed(behaviour),
        "pair_group": -tf.ones_like(slates["pair_group"]),
    }
