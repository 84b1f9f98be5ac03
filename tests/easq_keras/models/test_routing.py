"""Which loss moves which variable: the six guarantees of the paper's reading, and each preset's
routing table, held against the gradient of every variable by name.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.export import scoring_model
from easq_keras.models import EASQ
from easq_keras.models.emer import read, score_of, slate_mask
from tests.easq_keras.models.gradients import (
    assert_gradients_follow_the_table,
    gradients_by_loss,
)
from tests.easq_keras.models.small import (
    ALIGNED_SIZES,
    ANSWERED,
    SPECS,
    batch,
    easq,
    emer,
    wake,
)

VARIANTS = {
    "paper": {"preset": "paper"},
    "paper without LoRA": {"preset": "paper", "use_lora": False},
    "paper without MoE": {"preset": "paper", "use_moe": False},
    "paper without DPO": {"preset": "paper", "use_dpo": False},
    "recommended": {"preset": "recommended"},
    "recommended, silence learnt": {
        "preset": "recommended",
        "satisfaction_loss": "silence",
        "lora_embedding_dim": 2,
    },
    "recommended without reference": {"preset": "recommended", "dpo_reference": "none"},
    "recommended by shaping": {"preset": "recommended", "use_dpo": False, "shaping": 0.5},
    "answers against the behaviour head": {"preset": "paper", "dpo_reference": "behaviour"},
}


def part_of(variable) -> str:
    """The part of the model that a variable lies in: what follows the model's name in its path."""
    return variable.path.split("/")[1]


@pytest.mark.parametrize("rows", [None, ANSWERED], ids=["any row", "answered rows last"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_gets_exactly_the_gradients_of_the_table(variant, rows):
    keras.utils.set_random_seed(1)
    model = easq(**VARIANTS[variant])
    if model.lora is not None:
        wake(model)
    model.compile(answered_rows=rows)
    assert {part_of(v) for v in model.trainable_variables} == set(model.routing_table()["main"])
    assert_gradients_follow_the_table(model, gradients_by_loss(model, *batch()))


def test_the_table_of_the_paper():
    table = easq("paper").routing_table()
    assert {loss: {part for part in row if row[part]} for loss, row in table.items()} == {
        "main": {"embedding", "backbone", "tower"},
        "satisfaction": {"lora", "satisfaction_tower"},
        "dpo": {"embedding", "backbone", "tower"},
    }


def test_the_table_of_the_recommended_preset():
    table = easq("recommended").routing_table()
    assert {loss: {part for part in row if row[part]} for loss, row in table.items()} == {
        "main": {"tower"},
        "behaviour": {"embedding", "backbone", "behaviour_head"},
        "satisfaction": {"lora", "satisfaction_tower"},
        "dpo": {"tower"},
    }


@pytest.mark.parametrize("preset", ["paper", "recommended"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_the_table_holds_in_other_precisions(preset, policy):
    keras.utils.set_random_seed(1)
    model = easq(preset, dtype=policy)
    wake(model)
    assert_gradients_follow_the_table(model, gradients_by_loss(model, *batch()))


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_the_table_holds_after_a_reload(preset, tmp_path):
    keras.utils.set_random_seed(1)
    model = easq(preset)
    wake(model)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_gradients_follow_the_table(reloaded, gradients_by_loss(reloaded, *batch()))


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_the_table_holds_under_xla(preset):
    keras.utils.set_random_seed(1)
    model = easq(preset)
    wake(model)
    model.compile(answered_rows=ANSWERED)
    variables = model.trainable_variables
    # Tensorflow's own variables: zeros in place of None are made from their dtype.
    sources = [variable.value for variable in variables]
    zero = tf.UnconnectedGradients.ZERO

    @tf.function(jit_compile=True)
    def gradients(features, labels):
        with tf.GradientTape(persistent=True) as tape:
            terms = model.objective(model(features, training=True, learning=True), labels).terms
        return {loss: tape.gradient(term, sources, None, zero) for loss, term in terms.items()}

    by_loss = {
        loss: {
            v.path: keras.ops.convert_to_numpy(g) for v, g in zip(variables, values, strict=True)
        }
        for loss, values in gradients(*batch()).items()
    }
    assert_gradients_follow_the_table(model, by_loss)


def test_both_towers_read_the_same_values():
    # T1: h + sg(h_LoRA) and sg(h) + h_LoRA differ in their gradients only.
    model = easq("paper")
    wake(model)
    features, _ = batch()
    x = model.embedding.parts(features)
    mask = slate_mask(features, x.own)
    fused = read(model.backbone, x, mask) + read(model.lora, x, mask)
    outputs = model(features)
    np.testing.assert_array_equal(outputs["score"], score_of(model.tower, fused, mask))
    np.testing.assert_array_equal(
        outputs["satisfaction"], score_of(model.satisfaction_tower, fused, mask)
    )


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_with_b_at_zero_the_model_is_the_base_model_bit_for_bit(preset):
    # T2, first half.
    model = easq(preset)
    same = ("use_moe", "router_norm", "gate_bias")
    base = emer(**{name: getattr(model.settings, name) for name in same})
    for part in ("embedding", "backbone", "tower"):
        getattr(base, part).set_weights(getattr(model, part).get_weights())
    features, _ = batch()
    np.testing.assert_array_equal(model(features)["score"], base(features)["score"])


def test_the_first_step_moves_b_and_not_a():
    # T2, second half: ∂L/∂A passes through B = 0.
    model = easq("paper")
    by_path = gradients_by_loss(model, *batch())["satisfaction"]
    [a] = [gradient for path, gradient in by_path.items() if path.endswith("lora_kernel_a")]
    [b] = [gradient for path, gradient in by_path.items() if path.endswith("lora_kernel_b")]
    assert not np.any(a)
    assert np.any(b)


def test_a_linear_backbone_is_served_with_the_delta_merged():
    # T6: h = W0 x, so that W0 + BA is one projection.
    linear = keras.layers.Dense(8, use_bias=False, name="backbone")
    model = EASQ.from_preset("paper", features=SPECS, backbone=linear, **ALIGNED_SIZES)
    wake(model)
    scorer = scoring_model(model)
    assert scorer.delta is None
    np.testing.assert_allclose(
        scorer.backbone.kernel,
        linear.kernel + model.lora.lora_kernel_a @ model.lora.lora_kernel_b,
        atol=1e-6,
    )
    features, _ = batch()
    np.testing.assert_allclose(scorer(features), model(features)["score"], atol=1e-6)


def test_the_reference_head_is_not_moved_by_what_it_is_a_reference_for():
    # The live reference of Eq. 16 follows its own loss only: λ2 does not matter to ŝ.
    keras.utils.set_random_seed(3)
    weights = []
    for strength in (0.0, 100.0):
        keras.utils.set_random_seed(3)
        model = easq("paper", lambda_dpo=strength)
        model.compile(run_eagerly=True)
        model.train_on_batch(*batch())
        weights.append([np.asarray(v) for v in model.satisfaction_variables])
    for without, with_dpo in zip(*weights, strict=True):
        np.testing.assert_array_equal(without, with_dpo)
