"""The served graph says what the training graph says, and holds nothing else of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.export import ScoringModel, scoring_model
from easq_keras.layers import LoRALayer
from easq_keras.models import EASQ, Blend
from tests.easq_keras.models.small import ALIGNED_SIZES, SPECS, batch, easq, emer, wake


def trained(model):
    """The model after a few steps, so that the delta and all biases are in play."""
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        **(
            {"satisfaction_optimizer": keras.optimizers.Adam(0.02)}
            if isinstance(model, EASQ)
            else {}
        ),
        run_eagerly=True,
    )
    for seed in range(3):
        model.train_on_batch(*batch(seed))
    return model


def assert_parity(model, scorer, atol=1e-6) -> None:
    for seed in (5, 6):
        features, _ = batch(seed)
        np.testing.assert_allclose(scorer(features), model(features)["score"], atol=atol)


def linear() -> keras.layers.Layer:
    return keras.layers.Dense(8, name="backbone")


class Shifted(LoRALayer):
    """A delta that is not the product of its two matrices."""

    def call(self, inputs):
        return super().call(inputs) + 0.25


class ShiftedEASQ(EASQ):
    def make_lora(self, units):
        return Shifted(units, rank=2, name="lora")


MODELS = {
    "paper": lambda: easq("paper"),
    "recommended": easq,
    "without LoRA": lambda: easq(use_lora=False),
    "without MoE": lambda: easq(use_moe=False),
    "scaled LoRA": lambda: easq(lora_alpha=7.0),
    "rows of the delta's own": lambda: easq(satisfaction_loss="silence", lora_embedding_dim=3),
    "the same beside a linear backbone": lambda: EASQ(
        SPECS, backbone=linear(), **ALIGNED_SIZES, lora_embedding_dim=3
    ),
    "LoRA of high rank": lambda: easq(lora_rank=8),
    "linear backbone": lambda: EASQ(SPECS, backbone=linear(), **ALIGNED_SIZES),
    "linear backbone, scaled": lambda: EASQ(
        SPECS, backbone=linear(), **ALIGNED_SIZES, lora_alpha=5.0
    ),
    "tanh backbone": lambda: EASQ(
        SPECS, backbone=keras.layers.Dense(8, activation="tanh"), **ALIGNED_SIZES
    ),
    "a delta of one's own": lambda: ShiftedEASQ(SPECS, **ALIGNED_SIZES),
    "the same, linear backbone": lambda: ShiftedEASQ(SPECS, backbone=linear(), **ALIGNED_SIZES),
    "EMER": emer,
    "blend": lambda: Blend(SPECS, **ALIGNED_SIZES),
    "blend, linear backbone": lambda: Blend(SPECS, backbone=linear(), **ALIGNED_SIZES),
    "blend without LoRA": lambda: Blend(SPECS, **ALIGNED_SIZES, use_lora=False),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_scores_as_the_trained_model_does(name):
    keras.utils.set_random_seed(0)
    model = trained(MODELS[name]())
    before = [v.numpy() for v in model.weights]
    scorer = scoring_model(model)
    assert_parity(model, scorer)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_holds_the_embedding_the_backbone_the_delta_and_the_tower_only():
    model = trained(easq())
    scorer = scoring_model(model)
    parts = {v.path.split("/")[1] for v in scorer.variables}
    assert parts == {"embedding", "backbone", "lora", "tower"}
    assert not {id(v) for v in scorer.variables} & {id(v) for v in model.variables}


def test_it_is_cut_off_from_further_training():
    model = trained(easq())
    scorer = scoring_model(model)
    features, labels = batch(5)
    before = np.asarray(scorer(features))
    model.train_on_batch(features, labels)
    np.testing.assert_array_equal(scorer(features), before)


@pytest.mark.parametrize(
    ("name", "delta"),
    [
        ("linear backbone", type(None)),
        ("linear backbone, scaled", type(None)),
        ("without LoRA", type(None)),
        ("EMER", type(None)),
        # 9 numbers in, 8 out: two factors of rank 2 are cheaper than one product, of rank 8 not.
        ("recommended", LoRALayer),
        ("LoRA of high rank", keras.layers.Dense),
        ("a delta of one's own", Shifted),
        ("the same, linear backbone", Shifted),
        # Its behaviour tower reads the backbone without the delta.
        ("blend, linear backbone", LoRALayer),
    ],
)
def test_the_delta_is_folded_as_far_as_it_can_be(name, delta):
    assert type(scoring_model(MODELS[name]()).delta) is delta


def test_a_folded_factor_has_no_scale_left():
    model = MODELS["scaled LoRA"]()
    wake(model)
    scorer = scoring_model(model)
    assert (model.lora.scale, scorer.delta.scale) == (3.5, 1.0)
    assert_parity(model, scorer)


@pytest.mark.parametrize(
    "name",
    ["recommended", "linear backbone", "LoRA of high rank", "rows of the delta's own", "blend"],
)
def test_it_comes_back_from_a_keras_file(name, tmp_path):
    scorer = scoring_model(trained(MODELS[name]()))
    scorer.save(tmp_path / "scorer.keras")
    reloaded = keras.saving.load_model(tmp_path / "scorer.keras")
    assert isinstance(reloaded, ScoringModel)
    features, _ = batch(5)
    np.testing.assert_array_equal(reloaded(features), scorer(features))


@pytest.mark.parametrize("name", ["recommended", "paper"])
def test_it_becomes_a_saved_model_for_any_number_of_candidates(name, tmp_path):
    model = trained(MODELS[name]())
    scorer = scoring_model(model)
    signature = {
        "user_id": tf.TensorSpec([None], tf.int64),
        "item_id": tf.TensorSpec([None, None], tf.int64),
        "ctr": tf.TensorSpec([None, None], tf.float32),
        "mask": tf.TensorSpec([None, None], tf.int64),
    }
    scorer.export(tmp_path, input_signature=[signature], verbose=False)
    served = tf.saved_model.load(str(tmp_path))
    for width in (1, 3, 5):
        features = {
            k: tf.constant(v[:, :width] if v.ndim == 2 else v) for k, v in batch(5)[0].items()
        }
        np.testing.assert_allclose(
            served.serve(features), model(features)["score"], rtol=1e-5, atol=1e-6
        )


def test_the_mask_may_be_left_out():
    model = trained(easq())
    features, _ = batch(5)
    features["mask"] = np.ones_like(features["mask"])
    whole = {k: v for k, v in features.items() if k != "mask"}
    np.testing.assert_array_equal(scoring_model(model)(whole), scoring_model(model)(features))


def test_half_precision_stays_half_precision():
    model = trained(easq(dtype="mixed_bfloat16"))
    scorer = scoring_model(model)
    assert scorer.dtype_policy.name == "mixed_bfloat16"
    features, _ = batch(5)
    assert scorer(features).dtype == "float32"
    assert_parity(model, scorer, atol=0.05)


def test_another_model_is_refused():
    with pytest.raises(ValueError, match=r"must be an EMER or EASQ\. Received: Sequential"):
        scoring_model(keras.Sequential())
