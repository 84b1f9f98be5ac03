"""An auxiliary loss of a user's own tower: padding counts nowhere, and no path leaks through it."""

import keras
import numpy as np
import tensorflow as tf

from easq_keras.layers import ReLUMoE
from easq_keras.models import EASQ
from easq_keras.models.training import gradients
from tests.easq_keras.models.small import ALIGNED_SIZES, ANSWERED, SPECS, batch


class BalancedEASQ(EASQ):
    def make_tower(self, num_experts, name):
        return ReLUMoE(1, num_experts, 3, router_aux_loss_coef=0.5, name=name)


def balanced() -> BalancedEASQ:
    keras.utils.set_random_seed(0)
    model = BalancedEASQ(SPECS, **ALIGNED_SIZES)
    model.compile(answered_rows=ANSWERED)
    return model


def auxiliary(model, features) -> tuple[float, dict[str, float]]:
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        model(features, training=True, learning=True)
        extra = sum(model.losses)
    found = gradients(tape, extra, variables)
    sizes = [0.0 if gradient is None else float(np.abs(gradient).max()) for gradient in found]
    names = [variable.path.partition("/")[2] for variable in variables]
    return float(extra), dict(zip(names, sizes, strict=True))


def test_padding_counts_in_no_auxiliary_loss() -> None:
    model, (features, _) = balanced(), batch()
    expected, _ = auxiliary(model, features)
    assert expected > 0
    padding = ((0, 0), (0, 3))
    wider = {
        name: np.pad(value, padding) if value.ndim == 2 else value
        for name, value in features.items()
    }
    np.testing.assert_allclose(auxiliary(model, wider)[0], expected, rtol=1e-5)


def test_the_satisfaction_towers_auxiliary_loss_leaves_the_ranker_alone() -> None:
    _, sizes = auxiliary(balanced(), batch()[0])
    assert sizes["satisfaction_tower/gate_kernel"] > 0
    assert sizes["tower/gate_kernel"] > 0
    trunk = [name for name in sizes if name.startswith(("embedding", "backbone", "behaviour"))]
    assert trunk
    assert all(sizes[name] == 0 for name in trunk)
