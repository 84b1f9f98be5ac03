"""One of several workers that train one model, each on its own rows; prints what it holds.

    TF_CONFIG=… python -m tests.easq_keras.models.workers_run METHOD STEPS FOLDER EVERY DIES_AT

METHOD may be several, split by commas: one after the other. Writes a checkpoint every so many
steps; the second worker kills itself after step DIES_AT, unless that is 0.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easq_keras.models import EMER
from easq_keras.workers import sum_over_workers, train_on_workers, worker_of
from tests.easq_keras.models.small import Batch, batch, method

DENSE, ANSWERED = 4, 4


def batch_of(worker: int, step: int) -> Batch:
    """A worker's rows of a step: now and then no answers, and never as many pairs as another's."""
    features, labels = batch(
        seed=10 * step + worker,
        dense=DENSE,
        answered=ANSWERED,
        answers=(worker + step) % 3 != 1,
    )
    if worker == 0:
        labels["behaviour"][0] = -1  # one row less to learn behaviour from
    groups = labels["pair_group"]
    labels["pair_group"] = np.where(groups < 0, groups, groups + 100 * worker)
    return features, labels


def union_of(parts: list[Batch]) -> Batch:
    """All workers' rows in one batch: their dense rows, then their answered rows."""

    def joined(*values: np.ndarray) -> np.ndarray:
        dense, answered = [part[:DENSE] for part in values], [part[DENSE:] for part in values]
        return np.concatenate([*dense, *answered])

    return keras.tree.map_structure(joined, *parts)


def all_steps(batches: list[Batch]) -> tf.data.Dataset:
    """Batches of one size, as a dataset."""
    rows = len(batches[0][0]["mask"])
    data = keras.tree.map_structure(lambda *steps: np.concatenate(steps), *batches)
    return tf.data.Dataset.from_tensor_slices(data).batch(rows, drop_remainder=True)


def model_to_train(name: str, answered_rows: int) -> EMER:
    """The same model in every process."""
    model = method(name)
    optimizers = [keras.optimizers.SGD(0.1)]
    if hasattr(model, "satisfaction_tower"):
        optimizers.append(keras.optimizers.SGD(0.1))
    model.compile(*optimizers, answered_rows=answered_rows, jit_compile=False)
    return model


def held(model: EMER) -> dict[str, Any]:
    return {
        # Without the model's name, which Keras numbers.
        weight.path.partition("/")[2]: np.asarray(weight.value).tolist()
        for weight in model.weights
    }


def main() -> None:
    names, steps, folder, every, dies_at = sys.argv[1:]
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)
    worker, workers = worker_of(strategy)

    def dataset_of(context: tf.distribute.InputContext) -> tf.data.Dataset:
        assert (context.input_pipeline_id, context.num_input_pipelines) == (worker, workers)
        return all_steps([batch_of(worker, step) for step in range(int(steps))])

    def after_step(step: int) -> None:
        if worker == 1 and step == int(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)

    results = {}
    for name in names.split(","):
        with strategy.scope():
            model = model_to_train(name, ANSWERED)
        start = train_on_workers(
            model,
            strategy,
            dataset_of,
            steps=int(steps),
            checkpoint=Path(folder, name),
            checkpoint_every=int(every),
            after_step=after_step,
        )
        losses = {part: float(value) for part, value in model.get_metrics_result().items()}
        results[name] = {"start": start, "held": held(model), "reported": losses}
    # Worker 0 brings [1, 2], worker 1 [2, 4].
    results["sum"] = sum_over_workers(strategy, [1 + worker, 2 + 2 * worker]).tolist()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
