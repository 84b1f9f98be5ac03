"""Training on several hosts: the loop that Keras's `fit` does not run across them.

Every worker runs the same program under a `tf.distribute.MultiWorkerMirroredStrategy`. Each learns
from batches of its own; gradients are added up over all, so that a step is that of one worker on
the union of the batches. `docs/library/workers.md` shows a program.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from easq_keras.checkpoint import DESCRIPTION_FILE, load_checkpoint, save_checkpoint
from easq_keras.models.emer import EMER

DatasetOf = Callable[[tf.distribute.InputContext], tf.data.Dataset]


def train_on_workers(
    model: EMER,
    strategy: tf.distribute.Strategy,
    dataset_of: DatasetOf,
    *,
    steps: int,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 0,
    first_step: int = 0,
    after_step: Callable[[int], None] | None = None,
) -> int:
    """Trains a model for so many steps in all, from its checkpoint on where there is one.

    A worker that dies takes the others down with it, within a minute: TensorFlow notices and
    raises. Started again, all go on from the last checkpoint. So let whatever starts the workers
    start all of them anew when one ends with an error.

    Args:
        model: Built and compiled in the scope of `strategy`.
        strategy: How the workers are joined; or a strategy of one host.
        dataset_of: Returns a worker's `(features, labels)` batches, all of one shape, from
            `first_step` on: one a step for each of its replicas. The context says which worker it
            is (`input_pipeline_id`) of how many (`num_input_pipelines`). Pair groups must not be
            split between batches of one step.
        steps: When to stop, counted from the first step of the model.
        checkpoint: Folder of the checkpoint, which all workers see. Read at the start by all,
            written by the first. None: none.
        checkpoint_every: Steps between two checkpoints; there is one at the end in any case.
        first_step: Steps that the model had made when its first batch was the first of
            `dataset_of`.
        after_step: Called with the number of steps made, after each.

    Returns:
        The step that it started from: that of the model, or of the checkpoint.

    Raises:
        ValueError: `steps` is not positive, the checkpoint is of another model, or the model is a
            `SAQRec`, which trains on one replica.
        tf.errors.OpError: Another worker ended.
    """
    if steps <= 0:
        raise ValueError(f"`steps` must be positive. Received: {steps}.")
    if checkpoint is not None and Path(checkpoint, DESCRIPTION_FILE).exists():
        load_checkpoint(model, checkpoint)
    start = steps_of(model)
    replicas = strategy.num_replicas_in_sync

    def from_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Every replica of this worker takes a batch a step.
        of_step = replicas // context.num_input_pipelines
        return dataset_of(context).skip((start - first_step) * of_step)

    batches = iter(strategy.distribute_datasets_from_function(from_here))

    @tf.function(jit_compile=False)  # XLA has no collectives between hosts
    def train(batch: object) -> None:
        strategy.run(model.train_step, args=(batch,))

    chief = worker_of(strategy)[0] == 0
    for step in range(start + 1, steps + 1):
        train(next(batches))
        last = step == steps
        if checkpoint is not None and chief and (last or _is_due(step, checkpoint_every)):
            save_checkpoint(model, checkpoint)
        if after_step is not None:
            after_step(step)
    return start


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def steps_of(model: EMER) -> int:
    """Returns how many steps a compiled model has made, on however many replicas."""
    return int(np.asarray(model.optimizer.iterations.value))


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns which worker this process is, from 0 on, and of how many; a chief is the first."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    chiefs = len(cluster.get("chief", ()))
    before = 0 if resolver.task_type == "chief" else chiefs
    return before + int(resolver.task_id), chiefs + len(cluster.get("worker", ()))


def sum_over_workers(strategy: tf.distribute.Strategy, values: ArrayLike) -> NDArray[np.float64]:
    """Returns the sum of the workers' values; each waits here for all others.

    Args:
        strategy: How the workers are joined.
        values: Of this worker; of one shape on all.
    """
    of_worker = np.asarray(values, np.float64)
    local = strategy.num_replicas_in_sync // worker_of(strategy)[1]

    @tf.function
    def total(share: tf.Tensor) -> tf.Tensor:
        return strategy.run(_sum_over_replicas, args=(share,))

    (result, *_) = strategy.experimental_local_results(total(tf.constant(of_worker / local)))
    return np.asarray(result)


def _sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    replica = tf.distribute.get_replica_context()
    # A copy of the replica's own: what comes from outside has no place among its devices.
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))
