"""A model comes back from a `.keras` file as it was, its optimizers included."""

import warnings

import keras
import numpy as np
import pytest

from easq_keras.models import EASQ, EMER
from tests.easq_keras.models.small import ALIGNED_SIZES, ANSWERED, SPECS, batch, easq, emer
from tests.easq_keras.models.state import everything


@keras.saving.register_keras_serializable(package="tests")
class OwnBackbone(keras.layers.Layer):
    """Each candidate by itself; takes no mask."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs):
        return keras.ops.tanh(inputs @ self.kernel)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


MODELS = {
    "EMER": emer,
    "paper": lambda: easq("paper"),
    "recommended": easq,
    "ablated": lambda: easq(use_lora=False, use_moe=False, use_dpo=False),
    "own backbone": lambda: EASQ(SPECS, backbone=OwnBackbone(8), **ALIGNED_SIZES),
    "half precision": lambda: easq(dtype="mixed_float16"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_goes_on_after_a_round_trip(name, tmp_path):
    model = MODELS[name]()
    rows = {"answered_rows": ANSWERED} if isinstance(model, EASQ) else {}
    model.compile(run_eagerly=True, **rows)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.settings == model.settings
    assert loaded.embedding.features == model.embedding.features
    assert getattr(loaded, "answered_rows", None) == getattr(model, "answered_rows", None)
    for saved, read in zip(everything(model), everything(loaded), strict=True):
        np.testing.assert_array_equal(saved, read)
    # And the next step is the same step.
    for each in (model, loaded):
        each.run_eagerly = True
        each.train_on_batch(*batch(2))
    for left, right in zip(everything(model), everything(loaded), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", ["EMER", "recommended"])
def test_a_model_that_was_never_compiled_comes_back_uncompiled(name, tmp_path):
    model = MODELS[name]()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    features, _ = batch()
    np.testing.assert_array_equal(loaded(features)["score"], model(features)["score"])


def test_weights_alone_come_back(tmp_path):
    model, other = easq(), easq()
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    features, _ = batch()
    for output, value in model(features).items():
        np.testing.assert_array_equal(value, other(features)[output])


def test_a_frozen_reference_is_not_saved_and_asked_for_again(tmp_path):
    model, reference = easq(dpo_reference="frozen"), emer()
    model.compile(reference_model=reference, run_eagerly=True)
    model.train_on_batch(*batch())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    with pytest.raises(ValueError, match="must call `compile\\(\\)`"):
        loaded.train_on_batch(*batch(1))
    loaded.compile(reference_model=reference, run_eagerly=True)
    assert np.isfinite(loaded.train_on_batch(*batch(1), return_dict=True)["loss"])


def test_a_config_can_be_read_twice():
    model = easq(use_moe=False, name="ranker")
    config = model.get_config()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = EASQ.from_config(config), EASQ.from_config(config)
    assert first.get_config() == second.get_config() == config


@keras.saving.register_keras_serializable(package="tests")
class OneNetwork(EMER):
    """Scores with a layer of its own, which knows of no router."""

    def make_tower(self, num_experts, name):
        return keras.layers.Dense(1, name=name)


def test_a_subclass_with_a_tower_of_its_own_reports_no_router(tmp_path):
    model = OneNetwork(SPECS, units=8, num_heads=2)
    model.compile(run_eagerly=True)
    logs = model.train_on_batch(*batch(), return_dict=True)
    assert set(logs) == {"loss", "loss/main", "score/std"}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    features, _ = batch()
    np.testing.assert_array_equal(loaded(features)["score"], model(features)["score"])
