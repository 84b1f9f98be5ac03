"""The gradients of a model against its own routing table."""

import keras
import numpy as np
import tensorflow as tf


def gradients_by_loss(model, features, labels) -> dict[str, dict[str, np.ndarray | None]]:
    """For each loss, the gradient of every trainable variable by its path."""
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        terms = model.objective(model(features, training=True, learning=True), labels).terms
    return {
        loss: {
            variable.path: None if gradient is None else keras.ops.convert_to_numpy(gradient)
            for variable, gradient in zip(variables, tape.gradient(term, variables), strict=True)
        }
        for loss, term in terms.items()
    }


def assert_gradients_follow_the_table(model, gradients) -> None:
    table = model.routing_table()
    assert set(gradients) == set(table)
    for loss, by_path in gradients.items():
        for path, gradient in by_path.items():
            reached = gradient is not None and bool(np.any(gradient != 0))
            assert reached == table[loss][path.split("/")[1]], (loss, path)
