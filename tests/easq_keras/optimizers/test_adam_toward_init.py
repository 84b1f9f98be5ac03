"""Adam with a decay that pulls back to where a variable started."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.optimizers import AdamTowardInit


def test_without_decay_it_is_adam():
    after = []
    for optimizer in (keras.optimizers.Adam(0.05), AdamTowardInit(0.05, decay=0.0)):
        variable = keras.Variable([1.0, -3.0])
        optimizer.build([variable])
        for step in range(5):
            optimizer.apply([np.array([0.3, -0.1 * step], "float32")])
        after.append(variable.numpy())
    np.testing.assert_array_equal(*after)


def test_a_step_goes_back_first_and_then_as_adam_goes():
    initial, learning_rate, decay = np.array([2.0, -1.0]), 0.01, 5.0
    variable = keras.Variable(initial)
    optimizer = AdamTowardInit(learning_rate, decay=decay)
    optimizer.build([variable])
    value, m, v = initial.copy(), np.zeros(2), np.zeros(2)
    for step in range(1, 6):
        gradient = np.array([0.5, -0.2]) * step
        value -= learning_rate * decay * (value - initial)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        corrected = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value -= learning_rate * corrected * m / (np.sqrt(v) + 1e-7)
        optimizer.apply([gradient.astype("float32")])
    np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4)


def test_it_keeps_a_variable_near_its_start_under_any_gradient():
    variable = keras.Variable([0.0])
    optimizer = AdamTowardInit(0.01, decay=10.0)
    optimizer.build([variable])
    for _ in range(200):
        optimizer.apply([np.array([-1e6], "float32")])
    # Steps of lr against a pull of lr · 10 · distance balance at a distance of 1 / 10.
    assert variable.numpy()[0] == pytest.approx(0.1, rel=0.05)


def test_variables_can_be_left_out_of_the_decay():
    free, held = keras.Variable([1.0], name="bias"), keras.Variable([1.0], name="kernel")
    optimizer = AdamTowardInit(0.1, decay=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([free, held])
    free.assign([3.0])
    held.assign([3.0])
    optimizer.apply([np.zeros(1, "float32")] * 2)
    assert (free.numpy()[0], held.numpy()[0]) == (3.0, pytest.approx(2.0))


def test_the_start_is_saved_with_the_state():
    variable = keras.Variable([1.0, 2.0])
    optimizer = AdamTowardInit(0.1, decay=5.0)
    optimizer.build([variable])
    variable.assign([5.0, 5.0])
    later = AdamTowardInit.from_config(optimizer.get_config())
    later.build([variable])
    later.set_weights([v.numpy() for v in optimizer.variables])
    later.apply([np.zeros(2, "float32")])
    np.testing.assert_allclose(variable.numpy(), [3.0, 3.5])


def test_the_start_is_that_of_building_even_inside_a_traced_step():
    variable = keras.Variable([1.0])
    optimizer = AdamTowardInit(0.1, decay=5.0)

    @tf.function
    def step():
        optimizer.apply([tf.zeros(1)], [variable])

    step()
    variable.assign([3.0])
    step()
    assert variable.numpy()[0] == pytest.approx(2.0)


def test_building_twice_keeps_the_first_start():
    variable = keras.Variable([1.0])
    optimizer = AdamTowardInit(0.1, decay=5.0)
    optimizer.build([variable])
    variable.assign([3.0])
    optimizer.build([variable])
    optimizer.apply([np.zeros(1, "float32")])
    assert variable.numpy()[0] == pytest.approx(2.0)


def test_the_configuration_comes_back():
    optimizer = AdamTowardInit(0.02, decay=3.0, beta_1=0.8, clipnorm=1.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, AdamTowardInit)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("decay", [-1.0, float("nan"), "1"])
def test_a_wrong_decay_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        AdamTowardInit(decay=decay)


def test_a_pull_to_zero_beside_the_pull_to_the_start_is_refused():
    with pytest.raises(ValueError, match="weight_decay"):
        AdamTowardInit(weight_decay=0.1)
