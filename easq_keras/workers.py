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
    after_step: Callable[[int], None] | None = None,
) -> int:
    """Trains a model for so many steps in all, from its checkpoint on where there is one.

    A worker that dies takes the others down with it, within a minute: TensorFlow notices and
    raises. Started again, all go on from the last checkpoint. So let whatever starts the workers
    start all of them anew when one ends with an error.

    Args:
        model: Built and compiled in the scope of `strategy`.
        strategy: How the workers are joined; or a strategy of one host.
        dataset_of: Returns a worker's `(features, labels)` batches, all of one shape, from step 0
            on: at least `steps` of them for each of its replicas. The context says which worker it
            is (`input_pipeline_id`) of how many (`num_input_pipelines`). Pair groups must not be
            split between batches of one step.
        steps: When to stop, counted from the first step of the model.
        checkpoint: Folder of the checkpoint, which all workers see. Read at the start by all,
            written by the first. None: none.
        checkpoint_every: Steps between two checkpoints; there is one at the end in any case.
        after_step: Called with the number of steps made, after each.

    Returns:
        The step that it started from: 0, or that of the checkpoint.

    Raises:
        ValueError: `steps` is not positive, or the checkpoint is of another model.
        tf.errors.OpError: Another worker ended.
    """
    if steps <= 0:
        raise ValueError(f"`steps` must be positive. Received: {steps}.")
    if checkpoint is not None and Path(checkpoint, DESCRIPTION_FILE).exists():
        load_checkpoint(model, checkpoint)
    start = int(np.asarray(model.optimizer.iterations.value))
    replicas = strategy.num_replicas_in_sync

    def from_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Every replica of this worker takes a batch a step.
        return dataset_of(context).skip(start * (replicas // context.num_input_pipelines))

    batches = iter(strategy.distribute_datasets_from_function(from_here))

    @tf.function(jit_compile=False)  # XLA has no collectives between hosts
    def train(batch: object) -> None:
        strategy.run(model.train_step, args=(batch,))

    chief = _is_chief(strategy)
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


def _is_chief(strategy: tf.distribute.Strategy) -> bool:
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )
