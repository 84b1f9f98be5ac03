"""Softplus equals Keras's, value and gradient, wherever float32 reaches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.activations import compiled_well, softplus

FLOATS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20)
# Below, the result is too small to be a normal float32.
UNDERFLOW = -87.0


@settings(max_examples=100)
@given(FLOATS)
def test_is_the_logarithm_of_one_plus_the_exponential(numbers: list[float]) -> None:
    x = np.array(numbers, "float32")
    expected = np.logaddexp(0.0, x.astype("float64"))
    found = keras.ops.convert_to_numpy(softplus(x))
    np.testing.assert_allclose(found[x > UNDERFLOW], expected[x > UNDERFLOW], rtol=5e-7)
    np.testing.assert_allclose(found, expected, atol=1e-30, rtol=5e-7)


@pytest.mark.parametrize("jit", [False, True])
def test_has_the_gradient_of_keras(jit: bool) -> None:
    x = tf.constant(np.linspace(-40, 40, 801), tf.float32)

    def slope(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.cos(x) * function(x))
        return tape.gradient(total, x)

    ours = tf.function(slope, jit_compile=jit)(softplus)
    np.testing.assert_allclose(ours, slope(keras.ops.softplus), rtol=1e-6, atol=1e-7)


def test_infinities_and_nan() -> None:
    found = np.asarray(softplus(np.array([-np.inf, np.inf, np.nan], "float32")))
    np.testing.assert_array_equal(found, [0.0, np.inf, np.nan])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types_are_left_to_keras(dtype: str) -> None:
    x = keras.ops.cast([-3.0, 0.1, 4.0], dtype)
    found = softplus(x)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_array_equal(
        keras.ops.cast(found, "float64"), keras.ops.cast(keras.ops.softplus(x), "float64")
    )


def test_takes_the_place_of_softplus_and_of_nothing_else() -> None:
    assert compiled_well(keras.activations.get("softplus")) is softplus
    assert compiled_well(keras.activations.relu) is keras.activations.relu
