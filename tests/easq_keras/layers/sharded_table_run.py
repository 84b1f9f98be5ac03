"""One of the workers that hold a table by rows; prints what it looked up and learnt, as JSON.

    TF_CONFIG=… python -m tests.easq_keras.layers.sharded_table_run

Each worker has every n-th row and a batch of its own. Ids go to all, vectors are added up (a worker
has zeros for the rows of others) and each takes those of its batch; gradients go the same way back.
"""

import json

import numpy as np
import tensorflow as tf

from easq_keras.workers import worker_of

ROWS, DIM = 7, 3
IDS = [[4, 0, 4], [6, 1, 4]]  # of each worker; row 4 is asked for by both


def table() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype("float32")


def loss_of(vectors: tf.Tensor) -> tf.Tensor:
    """Anything whose gradient depends on the vectors and their place in the batch."""
    return tf.reduce_sum(tf.constant([[1.0], [2.0], [3.0]]) * vectors**2)


def main() -> None:
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)
    worker, workers = worker_of(strategy)
    shard = tf.Variable(table()[worker::workers])

    @tf.function
    def step() -> tuple[tf.Tensor, tf.Tensor]:
        def of_replica() -> tuple[tf.Tensor, tf.Tensor]:
            replica = tf.distribute.get_replica_context()
            mine = tf.identity(tf.constant(IDS[worker]))
            ids = replica.all_gather(mine, axis=0)
            with tf.GradientTape() as tape:
                owned = ids % workers == worker
                found = tf.gather(shard, tf.where(owned, ids // workers, 0))
                partial = tf.where(owned[:, None], found, 0.0)
                every = replica.all_reduce(tf.distribute.ReduceOp.SUM, partial)
                vectors = tf.split(every, workers)[worker]
                loss = loss_of(vectors)
            return vectors, tf.convert_to_tensor(tape.gradient(loss, shard))

        return strategy.run(of_replica)

    vectors, gradient = (value.numpy().tolist() for value in step())
    print(json.dumps({"vectors": vectors, "gradient": gradient}))


if __name__ == "__main__":
    main()
