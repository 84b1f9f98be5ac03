"""Columns that a slate shares, multiplied once: same result, same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.layers import FeatureEmbedding, LoRALayer, SlateEncoder
from easq_keras.layers.slate_input import SlateInput, project
from tests.easq_keras.layers.test_feature_embedding import SPECS, batch

ROWS, SLATE, OWN, SHARED = 3, 4, 5, 2
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])


def encoder() -> keras.layers.Layer:
    return SlateEncoder(8, num_heads=2, bias_initializer="uniform")


def lora() -> keras.layers.Layer:
    return LoRALayer(8, rank=2, b_initializer="uniform")


def embedding(specs=SPECS) -> FeatureEmbedding:
    layer = FeatureEmbedding(specs)
    layer.build(layer.symbolic_shapes())
    return layer


def drawn() -> SlateInput:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(ROWS, SLATE, OWN)).astype("float32") * MASK[:, :, None]
    shared = rng.normal(size=(ROWS, SHARED)).astype("float32") * MASK.any(1)[:, None]
    return SlateInput(tf.constant(own, tf.float32), tf.constant(shared, tf.float32))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("make", [encoder, lora])
def test_a_layer_reads_two_parts_as_it_reads_the_whole(make, jit: bool) -> None:
    keras.utils.set_random_seed(0)
    layer, x, mask = make(), drawn(), tf.constant(MASK, tf.bool)
    options = {"mask": mask} if isinstance(layer, SlateEncoder) else {}
    layer.build((None, None, SHARED + OWN))
    weights = np.random.default_rng(1).normal(size=(ROWS, SLATE, 8)) * MASK[:, :, None]

    def total(apart: bool):
        variables = [variable.value for variable in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = (
                layer(x.own, shared=x.shared, **options)
                if apart
                else layer(x.whole(mask), **options)
            )
            loss = tf.reduce_sum(y * tf.constant(weights, tf.float32))
        # Of padding nobody asks for a gradient: a layer without a mask gives it one.
        own, shared, *others = tape.gradient(loss, [*x, *variables])
        return y * tf.cast(mask[:, :, None], y.dtype), own, shared, *others

    expected = tf.function(total, jit_compile=jit)(False)
    for ours, theirs in zip(tf.function(total, jit_compile=jit)(True), expected, strict=True):
        # Sums of values about 1 in another order: a small sum keeps the rounding of its terms.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("own_alone", [False, True])
def test_columns_beside_others_are_shared_ones_first_and_then_own(own_alone: bool) -> None:
    x, mask = drawn(), tf.constant(MASK, tf.bool)
    other = SlateInput(2 * x.own, None if own_alone else 3 * x.shared)
    whole = np.asarray(x.beside(other).whole(mask))
    shared = np.where(MASK[:, :, None], np.asarray(x.shared)[:, None, :], 0)
    columns = [shared, *([] if own_alone else [3 * shared]), np.asarray(x.own), 2 * x.own]
    np.testing.assert_array_equal(whole, np.concatenate(columns, axis=-1))


def test_the_parts_of_an_embedding_make_up_the_whole() -> None:
    layer = embedding()
    inputs = batch(mask=np.array([[1, 1, 0], [1, 0, 0]]))
    whole = layer(inputs)
    x = layer.parts(inputs)
    assert x.shared is not None
    assert (tuple(x.shared.shape), tuple(x.own.shape)) == ((2, 3), (2, 3, 4))
    np.testing.assert_array_equal(x.whole(inputs["mask"] == 1), whole)


def test_a_slate_without_candidates_shares_nothing() -> None:
    layer = embedding()
    inputs = batch(mask=np.array([[1, 1, 0], [0, 0, 0]]), age=np.array([0.5, np.nan]))
    np.testing.assert_array_equal(layer.parts(inputs).shared[1], [0.0, 0.0, 0.0])


def test_without_user_features_nothing_is_shared() -> None:
    layer = embedding(SPECS[2:])
    x = layer.parts(batch())
    assert x.shared is None
    np.testing.assert_array_equal(x.own, layer(batch()))


def test_the_columns_must_be_those_of_the_kernel() -> None:
    with pytest.raises(ValueError, match=r"7 columns. Received: .*\(3, 4, 5\) and 1 shared"):
        project(tf.zeros((3, 4, 5)), tf.zeros((7, 2)), tf.zeros((3, 1)))
