"""What of the training input is one worker's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pipeline.training_input import Batch

_LABELS_OF_NOTHING = {"behaviour": -1, "answer": -1, "pair_group": -1, "exposed": 0}


@dataclass(frozen=True)
class Share:
    """One worker's part of the files.

    Attributes:
        worker: Its number, from 0 on.
        workers: How many there are.
    """

    worker: int
    workers: int

    def records(self, files: Sequence[str]) -> tf.data.Dataset:
        """This worker's records.

        Files are dealt whole, one to each worker in turn, so that nobody reads another's. The few
        at the end that do not go round, or all of a log with fewer files than workers, are read by
        all and dealt record by record: all workers have about as much to do.
        """
        whole = len(files) - len(files) % self.workers
        own = list(files[:whole])[self.worker :: self.workers]
        rest = _records(files[whole:]).shard(self.workers, self.worker)
        return _records(own).concatenate(rest)

    def count(self, files: Sequence[str]) -> int:
        """How many records that is; reads them and looks at none."""
        return int(self.records(files).reduce(tf.constant(0, tf.int64), lambda n, _: n + 1))


def _records(files: Sequence[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(tf.constant(list(files), tf.string, [len(files)]))


def filled(batches: tf.data.Dataset, number: int) -> tf.data.Dataset:
    """So many batches: those of `training_batches`, then empty ones, from which nothing is learnt.

    A worker that has no more slates still takes part in the others' steps.
    """
    features, labels = batches.element_spec

    def nothing(_: tf.Tensor) -> Batch:
        return (
            {name: tf.zeros(spec.shape, spec.dtype) for name, spec in features.items()},
            {
                name: tf.fill(spec.shape, tf.constant(_LABELS_OF_NOTHING[name], spec.dtype))
                for name, spec in labels.items()
            },
        )

    return batches.concatenate(tf.data.Dataset.range(number).map(nothing)).take(number)
