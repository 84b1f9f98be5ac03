"""Trains on two replicas, of which one sees all answers; prints what both hold, as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

from tests.easq_keras.models.small import batch, easq

STEPS = 2


def main() -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = easq("recommended", dpo_ramp_steps=5)
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), jit_compile=False)
    dense, answered = batch(dense=4, answered=0), batch(dense=0, answered=4)
    # The first half of a batch goes to the first replica, the second half to the other.
    data = keras.tree.map_structure(lambda *halves: np.concatenate(halves), dense, answered)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    batches = tf.data.Dataset.from_tensor_slices(data).batch(8).with_options(options)
    model.fit(batches, epochs=STEPS, verbose=0)
    counts = [model.satisfaction_optimizer.iterations, model.answered_steps]
    held = {
        variable.path: [np.asarray(copy).tolist() for copy in variable.value.values]
        for variable in [*model.weights, *counts]
    }
    print(json.dumps({"steps": [held[count.path][0] for count in counts], "held": held}))


if __name__ == "__main__":
    main()
