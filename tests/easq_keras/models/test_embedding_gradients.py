"""Adam on an embedding table is Adam, however often a batch holds an id."""

import keras
import numpy as np
import tensorflow as tf

from easq_keras.models.training import gradients

RATE, EPSILON = 0.1, 1e-7


def adam(steps: list[np.ndarray]) -> np.ndarray:
    """What Adam adds to a variable in so many steps of these gradients."""
    m = v = moved = np.zeros_like(steps[0])
    for number, gradient in enumerate(steps, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        rate = RATE * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        moved = moved - rate * m / (np.sqrt(v) + EPSILON)
    return moved


def test_an_id_that_a_batch_has_three_times_has_one_gradient() -> None:
    table = keras.Variable(np.zeros((3, 2), "float32"))
    optimizer = keras.optimizers.Adam(RATE)
    optimizer.build([table])
    factors = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5], [1.0, 1.0]], "float32")
    summed = np.zeros((3, 2))
    np.add.at(summed, [1, 1, 1, 0], factors)
    for index in ([1, 1, 1, 0], [1, 1, 1, 0]):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(keras.ops.take(table, index, axis=0) * factors)
        optimizer.apply(gradients(tape, loss, [table]), [table])
    np.testing.assert_allclose(table, adam([summed, summed]), rtol=1e-4, atol=1e-6)


def test_a_variable_without_a_gradient_has_none() -> None:
    used, other = keras.Variable([1.0]), keras.Variable([1.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(3.0 * used)
    found = gradients(tape, loss, [used, other])
    assert found[1] is None
    np.testing.assert_array_equal(found[0], [3.0])
