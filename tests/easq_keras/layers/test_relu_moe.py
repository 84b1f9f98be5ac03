"""Eqs. 9, 10, 13 and 14: y = Σ ReLU(W_gate h)_e · FFN_e(h)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.src import testing

from easq_keras.layers import ReLUMoE

RNG = np.random.default_rng(0)
H = RNG.normal(size=(3, 5, 6))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def equations_9_and_10(
    h: np.ndarray, gate: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray
) -> np.ndarray:
    """The paper's sum over experts, spelt out."""
    routing = np.maximum(h @ gate, 0.0)
    return sum(
        routing[..., e : e + 1] * (softplus(h @ w1[e] + b1[e]) @ w2[e] + b2[e])
        for e in range(len(w1))
    )


def paper_head(units: int = 1, **options) -> ReLUMoE:
    layer = ReLUMoE(
        units,
        num_experts=4,
        hidden_dim=3,
        router_norm=False,
        bias_initializer="normal",
        dtype="float64",
        **options,
    )
    layer.build((None, 6))
    return layer


class ReLUMoETest(testing.TestCase):
    def test_keras_harness(self) -> None:
        self.run_layer_test(
            ReLUMoE,
            {"units": 2, "num_experts": 4, "hidden_dim": 3},
            input_shape=(2, 5, 6),
            expected_output_shape=(2, 5, 2),
            expected_num_trainable_weights=5,
            supports_masking=True,
        )

    def test_keras_harness_with_all_options(self) -> None:
        self.run_layer_test(
            ReLUMoE,
            {
                "units": 1,
                "num_experts": 3,
                "hidden_dim": 4,
                "activation": "relu",
                "router_norm": False,
                "router_aux_loss_coef": 0.1,
                "shared_expert": True,
                "gate_initializer": "normal",
                "gate_bias_initializer": keras.initializers.Constant(1.0),
                "kernel_initializer": keras.initializers.HeNormal(seed=1),
                "bias_initializer": "ones",
                "gate_regularizer": "l1",
                "kernel_regularizer": "l2",
                "bias_regularizer": "l2",
                "gate_constraint": "max_norm",
                "kernel_constraint": "max_norm",
                "bias_constraint": "non_neg",
            },
            input_shape=(4, 6),
            expected_output_shape=(4, 1),
            expected_num_trainable_weights=6,
            # One a regularised weight: the gate's kernel, two kernels, two biases. (The
            # harness calls the layer without training, so the auxiliary loss is not among them.)
            expected_num_losses=5,
            supports_masking=True,
        )


@pytest.mark.parametrize("units", [1, 2])
def test_without_norm_the_output_is_that_of_equations_9_and_10(units: int) -> None:
    layer = paper_head(units)
    weights = [weight.numpy() for weight in layer.weights]
    np.testing.assert_allclose(layer(H), equations_9_and_10(H, *weights), rtol=1e-12)


def test_gradients_agree_with_finite_differences_of_the_equations() -> None:
    layer = paper_head()
    values = [weight.numpy() for weight in layer.weights]
    with tf.GradientTape() as tape:
        total = ops.sum(ops.sin(layer(H)))
    gradients = tape.gradient(total, [weight.value for weight in layer.weights])

    def loss(which: int, index: tuple[int, ...], step: float) -> float:
        moved = [value.copy() for value in values]
        moved[which][index] += step
        return float(np.sum(np.sin(equations_9_and_10(H, *moved))))

    for which, gradient in enumerate(gradients):
        for index in np.ndindex(*gradient.shape):
            difference = (loss(which, index, 1e-6) - loss(which, index, -1e-6)) / 2e-6
            assert float(gradient[index]) == pytest.approx(difference, abs=1e-6)


def test_the_gates_are_the_positive_logits() -> None:
    layer = paper_head()
    gates = ops.convert_to_numpy(layer.gates(H))
    np.testing.assert_allclose(gates, np.maximum(H @ layer.gate_kernel.numpy(), 0.0), rtol=1e-12)
    assert 0 < np.mean(gates == 0) < 1


def test_the_router_norm_makes_gates_blind_to_a_shared_offset_and_scale() -> None:
    layer = ReLUMoE(1, 4, 3, dtype="float64")
    layer(H)
    np.testing.assert_allclose(layer.gates(H), layer.gates(5.0 + 3.0 * H), rtol=1e-5)


def test_a_candidate_with_all_gates_closed_scores_0_and_learns_nothing() -> None:
    layer = paper_head(gate_bias_initializer=keras.initializers.Constant(-100.0))
    with tf.GradientTape() as tape:
        y = layer(H)
        total = ops.sum(y)
    assert not np.any(y)
    gradients = tape.gradient(total, [weight.value for weight in layer.weights])
    assert not any(np.any(gradient) for gradient in gradients)


def test_the_shared_expert_keeps_such_a_candidate_alive() -> None:
    layer = paper_head(
        gate_bias_initializer=keras.initializers.Constant(-100.0), shared_expert=True
    )
    w1, b1, w2, b2 = (
        weight.numpy()[-1]
        for weight in (
            layer.hidden_kernel,
            layer.hidden_bias,
            layer.output_kernel,
            layer.output_bias,
        )
    )
    np.testing.assert_allclose(layer(H), softplus(H @ w1 + b1) @ w2 + b2, rtol=1e-12)
    assert layer.hidden_kernel.shape[0] == 5
    assert layer.gates(H).shape == (3, 5, 4)


def test_a_gate_bias_of_1_opens_more_gates_at_the_start() -> None:
    keras.utils.set_random_seed(0)
    plain = ReLUMoE(1, 16, 3)
    keras.utils.set_random_seed(0)
    biased = ReLUMoE(1, 16, 3, gate_bias_initializer="ones")
    shares = []
    for layer in (plain, biased):
        layer(H)
        shares.append(float(layer.router_activity(H)["share_active"]))
    assert shares[0] == pytest.approx(0.5, abs=0.15)
    assert shares[1] > shares[0] + 0.15


@pytest.mark.parametrize("seed", [None, 7])
def test_experts_start_apart(seed: int | None) -> None:
    layer = ReLUMoE(1, 4, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    layer.build((None, 6))
    for kernel in (layer.hidden_kernel.numpy(), layer.output_kernel.numpy()):
        assert len({expert.tobytes() for expert in kernel}) == 4


def test_the_spread_of_an_expert_is_that_of_a_network_of_its_own() -> None:
    layer = ReLUMoE(1, 50, 30, kernel_initializer="glorot_uniform")
    layer.build((None, 20))
    # Glorot's bound is √(6 / (fan in + fan out)) = √(6 / 50), its variance a third of the square.
    assert np.std(layer.hidden_kernel.numpy()) == pytest.approx(np.sqrt(2 / 50), rel=0.02)


def test_a_plain_function_can_initialise_the_experts() -> None:
    layer = ReLUMoE(1, 3, 2, kernel_initializer=lambda shape, dtype: ops.ones(shape, dtype))
    layer.build((None, 4))
    assert np.all(layer.hidden_kernel.numpy() == 1.0)


def hand_made() -> ReLUMoE:
    """Two experts whose gates are the two inputs."""
    layer = ReLUMoE(1, 2, 1, router_norm=False, router_aux_loss_coef=0.5)
    layer.build((None, 2))
    layer.gate_kernel.assign(np.eye(2))
    return layer


TOKENS = np.array([[[2.0, -1.0], [4.0, 1.0], [-1.0, -1.0], [99.0, 9.0]]])
MASK = np.array([[1, 1, 1, 0]])


def test_the_auxiliary_loss_is_the_load_balanced_l1_norm() -> None:
    layer = hand_made()
    with tf.GradientTape() as tape:
        layer(TOKENS, mask=MASK, training=True)
        [loss] = layer.losses
    # E · Σ share · mean gate = 2 · (2/3 · (2 + 4) / 3 + 1/3 · 1 / 3), times the coefficient.
    assert float(loss) == pytest.approx(0.5 * 2 * (2 / 3 * 2.0 + 1 / 3 * 1 / 3))
    gradient = tape.gradient(loss, layer.gate_kernel.value)
    # Of gate 1 by W: 0.5 · 2 · 2/3 · (h_1 + h_2) / 3; the share has no gradient.
    np.testing.assert_allclose(gradient[:, 0], 2 / 3 * np.array([6.0, 0.0]) / 3, rtol=1e-6)


def test_the_auxiliary_loss_is_added_only_while_training_and_if_asked_for() -> None:
    layer = hand_made()
    layer(TOKENS, training=False)
    assert layer.losses == []
    silent = ReLUMoE(1, 2, 1)
    silent(H, training=True)
    assert silent.losses == []


def test_router_activity_counts_open_gates_dead_experts_and_dead_candidates() -> None:
    activity = hand_made().router_activity(TOKENS, MASK)
    # Gates open: (yes, no), (yes, yes), (no, no).
    assert float(activity["share_active"]) == pytest.approx(3 / 6)
    assert float(activity["dead_experts"]) == 0.0
    assert float(activity["all_dead_candidates"]) == pytest.approx(1 / 3)
    first = hand_made().router_activity(TOKENS, np.array([[1, 0, 1, 0]]))
    assert float(first["dead_experts"]) == 1.0


def test_router_activity_without_a_mask_counts_all_candidates() -> None:
    activity = hand_made().router_activity(TOKENS[:, :3])
    assert float(activity["all_dead_candidates"]) == pytest.approx(1 / 3)


def test_router_activity_of_nothing_is_finite() -> None:
    activity = hand_made().router_activity(TOKENS, np.zeros((1, 4)))
    assert {name: float(value) for name, value in activity.items()} == {
        "share_active": 0.0,
        "dead_experts": 2.0,
        "all_dead_candidates": 0.0,
    }


def test_the_output_of_a_candidate_depends_on_no_other_and_not_on_the_mask() -> None:
    layer = paper_head()
    np.testing.assert_allclose(layer(H)[1:2, 2:4], layer(H[1:2, 2:4]), rtol=1e-12)
    np.testing.assert_array_equal(layer(H, mask=np.zeros((3, 5))), layer(H))


def test_half_precision_agrees_with_full() -> None:
    full = ReLUMoE(1, 4, 3, gate_bias_initializer="ones")
    expected = full(H)
    half = ReLUMoE(1, 4, 3, gate_bias_initializer="ones", dtype="mixed_float16")
    half.build(H.shape)
    half.set_weights(full.get_weights())
    y = half(H)
    assert y.dtype == tf.float16
    np.testing.assert_allclose(y, expected, atol=2e-2)
    np.testing.assert_array_equal(np.asarray(half.gates(H)) > 0, np.asarray(full.gates(H)) > 0)


def test_compiles_once_for_one_width() -> None:
    layer = ReLUMoE(1, 4, 3)
    inputs = tf.constant(H, "float32")
    expected = layer(inputs)
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), expected, atol=1e-6)
    compiled(inputs + 1)
    assert compiled.experimental_get_tracing_count() == 1


def test_saves_and_loads(tmp_path) -> None:
    inputs = keras.Input((5, 6))
    head = ReLUMoE(1, 4, 3, gate_bias_initializer="ones", shared_expert=True)
    model = keras.Model(inputs, head(inputs))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(H), model(H))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be a positive integer.*units=0"),
        ({"num_experts": 0}, "`num_experts` must be a positive integer.*num_experts=0"),
        ({"hidden_dim": "8"}, "`hidden_dim` must be a positive integer.*hidden_dim='8'"),
        ({"router_aux_loss_coef": -0.1}, "`router_aux_loss_coef` must.*at least 0.*=-0.1"),
        ({"activation": "no_such"}, "no_such"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReLUMoE(**{"units": 1, "num_experts": 4, "hidden_dim": 8, **arguments})
