"""Eq. 7: h_LoRA = B A x, apart from the projection it updates."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.src import testing

from easq_keras.layers import LoRALayer

X = np.random.default_rng(0).normal(size=(3, 4, 6))


class LoRALayerTest(testing.TestCase):
    def test_keras_harness(self) -> None:
        for shape in ((2, 6), (2, 4, 6), (2, 4, 5, 6)):
            self.run_layer_test(
                LoRALayer,
                {
                    "units": 3,
                    "rank": 2,
                    "lora_alpha": 4,
                    "b_initializer": "ones",
                    "a_regularizer": "l2",
                    "b_regularizer": "l1",
                    "a_constraint": "max_norm",
                    "b_constraint": "non_neg",
                },
                input_shape=shape,
                expected_output_shape=(*shape[:-1], 3),
                expected_num_trainable_weights=2,
                expected_num_losses=2,
                supports_masking=True,
            )


def test_the_delta_is_that_of_equation_7_times_alpha_over_rank() -> None:
    layer = LoRALayer(3, 2, lora_alpha=6, b_initializer="normal", dtype="float64")
    layer.build(X.shape)
    a, b = layer.lora_kernel_a.numpy(), layer.lora_kernel_b.numpy()
    np.testing.assert_allclose(layer(X), 3.0 * X @ a @ b, rtol=1e-12)
    np.testing.assert_allclose(layer.get_delta_weight(), 3.0 * a @ b, rtol=1e-12)


def test_the_scale_is_1_by_default() -> None:
    assert LoRALayer(3, rank=5).scale == 1.0


def test_b_starts_at_zero_so_that_nothing_changes_until_it_learns() -> None:
    layer = LoRALayer(3, 2)
    with tf.GradientTape() as tape:
        delta = layer(X)
        total = ops.sum(delta)
    np.testing.assert_array_equal(delta, np.zeros((3, 4, 3)))
    grad_a, grad_b = tape.gradient(total, [layer.lora_kernel_a.value, layer.lora_kernel_b.value])
    assert not np.any(grad_a)
    assert np.all(np.any(grad_b, axis=0))


def test_gradients_agree_with_finite_differences_of_equation_7() -> None:
    layer = LoRALayer(2, 2, b_initializer="normal", dtype="float64")
    layer.build((None, 6))
    values = [layer.lora_kernel_a.numpy(), layer.lora_kernel_b.numpy()]

    def loss(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sum(np.sin(X @ a @ b)))

    with tf.GradientTape() as tape:
        total = ops.sum(ops.sin(layer(X)))
    gradients = tape.gradient(total, [v.value for v in layer.weights])
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(*gradient.shape):
            step = [np.zeros_like(value) for value in values]
            step[which][index] = 1e-6
            up = loss(*(v + s for v, s in zip(values, step, strict=True)))
            down = loss(*(v - s for v, s in zip(values, step, strict=True)))
            assert float(gradient[index]) == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_both_matrices_come_back_unmerged_from_a_file(tmp_path) -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, LoRALayer(3, 2, b_initializer="normal", name="lora")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").get_layer("lora")
    for before, after in zip(model.get_layer("lora").weights, again.weights, strict=True):
        assert after.name == before.name
        np.testing.assert_array_equal(after, before)


def test_a_file_of_weights_alone_restores_them(tmp_path) -> None:
    def model() -> keras.Model:
        return keras.Sequential([keras.Input((6,)), LoRALayer(3, 2, b_initializer="normal")])

    first, second = model(), model()
    first.save_weights(tmp_path / "w.weights.h5")
    second.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(second(X[0]), first(X[0]))


def test_half_precision_computes_in_half_and_keeps_full_weights() -> None:
    layer = LoRALayer(3, 2, dtype="mixed_float16")
    assert layer(X).dtype == tf.float16
    assert {weight.dtype for weight in layer.weights} == {"float32"}


def test_compiles_once_for_one_width() -> None:
    layer = LoRALayer(3, 2, b_initializer="normal")
    expected = layer(X)
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(X, "float32")), expected, atol=1e-6)
    compiled(tf.constant(X + 1, "float32"))
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be a positive integer.*units=0"),
        ({"units": 1.5}, "units=1.5"),
        ({"rank": -1}, "`rank` must be a positive integer.*rank=-1"),
        ({"rank": None}, "rank=None"),
        ({"lora_alpha": 0}, "`lora_alpha` must be a finite number above 0.*lora_alpha=0"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRALayer(**{"units": 3, "rank": 2, **arguments})


def test_an_input_of_another_width_is_refused() -> None:
    layer = LoRALayer(3, 2)
    layer(X)
    with pytest.raises(ValueError, match="must have 6 columns"):
        layer(X[..., :5])
