"""The Top-K softmax router that the paper compares with."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.src import testing

from easq_keras.layers import ReLUMoE, TopKMoE

H = np.random.default_rng(0).normal(size=(3, 5, 6))


def softmax(x: np.ndarray) -> np.ndarray:
    odds = np.exp(x - x.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


class TopKMoETest(testing.TestCase):
    def test_keras_harness(self) -> None:
        self.run_layer_test(
            TopKMoE,
            {"units": 2, "num_experts": 4, "hidden_dim": 3, "top_k": 3, "shared_expert": True},
            input_shape=(2, 5, 6),
            expected_output_shape=(2, 5, 2),
            expected_num_trainable_weights=5,
            supports_masking=True,
        )


def test_gates_are_the_softmax_cut_to_the_k_largest() -> None:
    layer = TopKMoE(1, 4, 3, top_k=2, router_norm=False, dtype="float64")
    layer(H)
    probabilities = softmax(H @ layer.gate_kernel.numpy())
    second = np.sort(probabilities, axis=-1)[..., -2:-1]
    expected = np.where(probabilities >= second, probabilities, 0.0)
    np.testing.assert_allclose(layer.gates(H), expected, rtol=1e-12)


def test_every_candidate_opens_exactly_k_experts_even_if_all_are_equal() -> None:
    layer = TopKMoE(1, 4, 3, top_k=2, gate_initializer="zeros")
    layer(H)
    gates = np.asarray(layer.gates(H))
    np.testing.assert_array_equal(gates[0, 0], [0.25, 0.25, 0.0, 0.0])
    activity = layer.router_activity(H)
    assert float(activity["share_active"]) == 0.5
    assert float(activity["dead_experts"]) == 2.0
    assert float(activity["all_dead_candidates"]) == 0.0


def test_the_experts_are_those_of_the_relu_router() -> None:
    top, relu = TopKMoE(1, 4, 3, top_k=4), ReLUMoE(1, 4, 3)
    top(H)
    relu(H)
    relu.set_weights(top.get_weights())
    tokens = ops.cast(H.reshape(-1, 6), "float32")
    np.testing.assert_array_equal(top.expert_outputs(tokens), relu.expert_outputs(tokens))


def test_the_auxiliary_loss_is_that_of_the_switch_transformer() -> None:
    layer = TopKMoE(1, 2, 1, top_k=1, router_norm=False, router_aux_loss_coef=0.5)
    layer.build((None, 2))
    layer.gate_kernel.assign(np.eye(2))
    tokens = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [50.0, -50.0]])
    layer(tokens, mask=np.array([1, 1, 1, 0]), training=True)
    mean = softmax(tokens[:3]).mean(axis=0)
    [loss] = layer.losses
    assert float(loss) == pytest.approx(0.5 * 2 * (2 / 3 * mean[0] + 1 / 3 * mean[1]), rel=1e-6)


def test_compiles_once_for_one_width() -> None:
    layer = TopKMoE(1, 4, 3)
    inputs = tf.constant(H, "float32")
    expected = layer(inputs)
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), expected, atol=1e-6)
    compiled(inputs + 1)
    assert compiled.experimental_get_tracing_count() == 1


def test_the_config_keeps_k() -> None:
    layer = TopKMoE.from_config(TopKMoE(1, 4, 3, top_k=3).get_config())
    assert layer.top_k == 3


def test_half_precision_opens_k_experts_too() -> None:
    layer = TopKMoE(1, 4, 3, top_k=3, dtype="mixed_float16")
    layer(H)
    assert np.all(np.sum(np.asarray(layer.gates(H)) > 0, axis=-1) == 3)


@pytest.mark.parametrize(
    ("top_k", "message"),
    [
        (0, "`top_k` must be a positive integer.*top_k=0"),
        (5, "`top_k` cannot exceed `num_experts`.*top_k=5, num_experts=4"),
    ],
)
def test_a_wrong_k_is_refused(top_k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopKMoE(1, 4, 3, top_k=top_k)
    assert keras.saving.get_registered_object("easq_keras>TopKMoE") is TopKMoE
