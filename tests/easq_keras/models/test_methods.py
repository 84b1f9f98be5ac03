"""What every method promises, whatever it learns: one contract, checked for each by its name."""

import json

import keras
import numpy as np
import pytest

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.export import scoring_model
from easq_keras.models import (
    EASQ,
    EMER,
    METHODS,
    EASQSettings,
    build_method,
    method_info,
)
from tests.easq_keras.models.gradients import (
    assert_gradients_follow_the_table,
    gradients_by_loss,
)
from tests.easq_keras.models.small import ANSWERED, SPECS, batch, method
from tests.easq_keras.models.state import everything

TRADING = [name for name in METHODS if method_info(name).trade_off is not None]
# One of each class of model and each form of its objective; the others are settings of EASQ, which
# has tests of its own.
KINDS = (
    "EMER",
    "EMER_s-pair",
    "EMER_s-level",
    "Imputation",
    "SAQRec",
    "SAQRec-listwise",
    "Blend",
    "EASQ-TopK",
)
CLASSES = ("EMER", "EMER_s-level", "Imputation", "SAQRec", "Blend", "EASQ-TopK")


def compiled(name: str, seed: int = 0, **changes) -> EMER:
    model = method(name, seed, **changes)
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    return model


def test_the_methods_are_the_systems_of_the_paper_and_its_neighbours():
    assert set(METHODS) == {
        "EMER",
        "EMER_s-pair",
        "EMER_s-level",
        "Imputation",
        "SAQRec",
        "SAQRec-listwise",
        "Blend",
        "EASQ",
        "EASQ-paper",
        "EASQ-w/o-LoRA",
        "EASQ-w/o-MoE",
        "EASQ-w/o-DPO",
        "EASQ-TopK",
    }


def test_easq_is_the_recommended_preset_and_its_paper_form_the_other():
    assert build_method("EASQ", SPECS).settings == EASQSettings.preset("recommended")
    assert build_method("EASQ-paper", SPECS).settings == EASQSettings.preset("paper")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("EASQ-w/o-LoRA", {"use_lora": False}),
        ("EASQ-w/o-MoE", {"use_moe": False}),
        ("EASQ-w/o-DPO", {"use_dpo": False}),
        ("EASQ-TopK", {"use_moe": True, "router": "top_k"}),
    ],
)
def test_an_ablation_differs_in_its_subject_alone(name, change):
    assert build_method(name, SPECS).settings == EASQSettings(**change)


def test_the_top_k_router_opens_as_many_experts_as_it_is_told():
    model = method("EASQ-TopK", top_k=3, num_satisfaction_experts=2)
    h = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    for tower, open_experts in ((model.tower, 3), (model.satisfaction_tower, 2)):
        assert np.all(np.sum(np.asarray(tower.gates(h)) > 0, axis=-1) == open_experts)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rows", [None, ANSWERED], ids=["any row", "answered rows last"])
def test_every_variable_gets_exactly_the_gradients_of_the_table(name, rows):
    model = method(name, seed=1)
    model.compile(answered_rows=rows)
    parts = {variable.path.split("/")[1] for variable in model.trainable_variables}
    assert parts == set(model.routing_table()["main"])
    assert_gradients_follow_the_table(model, gradients_by_loss(model, *batch()))


@pytest.mark.parametrize("name", CLASSES)
def test_it_goes_on_after_a_file_and_after_a_checkpoint(name, tmp_path):
    straight = compiled(name)
    trading = straight.trade_off is not None
    if trading:
        straight.trade_off.assign(0.125)
    straight.train_on_batch(*batch(0))
    straight.save(tmp_path / "model.keras")
    save_checkpoint(straight, tmp_path)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    restored = compiled(name, seed=9)
    load_checkpoint(restored, tmp_path)
    if trading:
        # The file brings its value back; of a checkpoint the loading model's settings hold.
        assert float(loaded.trade_off) == 0.125
        assert restored.trade_off == np.float32(
            getattr(restored.settings, method_info(name).trade_off)
        )
        restored.trade_off.assign(0.125)
    for model in (straight, loaded, restored):
        model.train_on_batch(*batch(2))
    for other in (loaded, restored):
        for ours, theirs in zip(everything(straight), everything(other), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert loaded.settings == straight.settings
    assert loaded.answered_rows == ANSWERED
    assert json.loads(json.dumps(straight.settings.to_dict())) == straight.settings.to_dict()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_served_is_what_was_trained(name):
    model = compiled(name)
    model.train_on_batch(*batch())
    scorer = scoring_model(model)
    features, _ = batch(5)
    expected = np.asarray(model(features)["score"])
    np.testing.assert_allclose(scorer(features), expected, atol=1e-6)
    assert not np.any(expected[features["mask"] == 0])
    # A copy of its own: training on changes nothing of it.
    before = np.asarray(scorer(features))
    model.train_on_batch(*batch(6))
    np.testing.assert_array_equal(scorer(features), before)


@pytest.mark.parametrize("name", ["Blend", "SAQRec"])
def test_the_served_graph_comes_back_from_a_keras_file(name, tmp_path):
    scorer = scoring_model(compiled(name))
    scorer.save(tmp_path / "scorer.keras")
    features, _ = batch(5)
    reloaded = keras.saving.load_model(tmp_path / "scorer.keras")
    np.testing.assert_array_equal(reloaded(features), scorer(features))


@pytest.mark.parametrize("name", TRADING)
def test_the_trade_off_starts_at_its_setting_and_a_grid_rises_from_small_to_large(name):
    info, model = method_info(name), method(name)
    assert model.settings.trade_off_setting == info.trade_off
    assert float(model.trade_off) == np.float32(getattr(model.settings, info.trade_off))
    assert len(info.grid) == 9  # the same budget of tuning for all
    assert list(info.grid) == sorted(set(info.grid))
    assert info.grid[0] > 0


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(TRADING)))
def test_what_ranks_by_behaviour_alone_trades_nothing(name):
    assert method(name).trade_off is None
    assert method_info(name).grid == ()


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"EMER", "Blend"}))
def test_an_assigned_trade_off_is_that_of_the_setting(name):
    weights = []
    setting = method_info(name).trade_off
    for changes, assigned in (({setting: 0.25}, None), ({}, 0.25), ({}, None)):
        model = compiled(name, **changes)
        if assigned is not None:
            model.trade_off.assign(assigned)
        model.train_on_batch(*batch())
        weights.append([np.asarray(v) for v in model.trainable_variables])
    for by_setting, by_variable in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(by_setting, by_variable)
    assert any(np.any(left != right) for left, right in zip(*weights[1:], strict=True))


@pytest.mark.parametrize("name", ["EMER_s-level", "EASQ-TopK"])
def test_a_change_of_the_trade_off_compiles_nothing_anew(name):
    model = method(name)
    traced = []
    objective = model.objective
    model.objective = lambda outputs, labels: traced.append(1) or objective(outputs, labels)
    model.compile(answered_rows=ANSWERED, jit_compile=False)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    times = len(traced)
    model.trade_off.assign(2.0)
    model.train_on_batch(*batch(3))
    assert len(traced) == times


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_step_under_xla_is_the_step_without(name):
    logs = []
    for options in ({"jit_compile": True}, {"run_eagerly": True}):
        model = method(name)
        sgd = {"optimizer": keras.optimizers.SGD(0.1)}
        if isinstance(model, EASQ):
            sgd["satisfaction_optimizer"] = keras.optimizers.SGD(0.1)
        model.compile(answered_rows=ANSWERED, **sgd, **options)
        for seed in range(2):
            logs.append(model.train_on_batch(*batch(seed), return_dict=True))
    for jitted, eager in zip(logs[:2], logs[2:], strict=True):
        assert set(jitted) == set(eager)
        for key, value in jitted.items():
            assert float(value) == pytest.approx(float(eager[key]), rel=1e-3, abs=1e-5), key


@pytest.mark.parametrize("name", ["EMER_s-pair", "EMER_s-level", "Imputation", "Blend", "EASQ"])
def test_without_answers_the_scores_learn_as_emers_do_unless_satisfaction_is_transferred(name):
    # With a trade-off of 0 nothing is transferred; and nobody has answered.
    model, plain = method(name), None
    if model.trade_off is not None:
        model.trade_off.assign(0.0)
    if getattr(model, "lora", None) is not None:
        model.lora.lora_kernel_b.assign(np.zeros(model.lora.lora_kernel_b.shape))
    same = ("use_moe", "router_norm", "gate_bias", "num_experts", "router")
    plain = method("EMER", **{key: getattr(model.settings, key) for key in same})
    for part in ("embedding", "backbone", "tower"):
        getattr(plain, part).set_weights(getattr(model, part).get_weights())
    detached = getattr(model, "behaviour_head", None) is not None
    for each in (model, plain):
        extra = {"satisfaction_optimizer": "sgd"} if isinstance(each, EASQ) else {}
        each.compile(
            optimizer=keras.optimizers.SGD(0.1), answered_rows=ANSWERED, run_eagerly=True, **extra
        )
        for seed in range(3):
            each.train_on_batch(*batch(seed, answers=False))
            if detached:  # its head, and not ŷ, trains the trunk: compare one step of the tower
                break
    for ours, theirs in zip(model.tower.weights, plain.tower.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"`name` must be one of 'EMER', 'EMER_s-pair'"):
        build_method("EMERs", SPECS)


def test_a_setting_that_the_method_has_not_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"EMERSettings has no setting \['lora_rank'\]"):
        build_method("EMER", SPECS, lora_rank=4)


def test_a_precision_may_be_given():
    model = build_method("EMER_s-pair", SPECS, dtype="mixed_bfloat16", units=8)
    assert model.dtype_policy.name == "mixed_bfloat16"


def test_a_batch_smaller_than_its_answered_rows_is_refused():
    for name in ("EMER", "EMER_s-pair", "SAQRec", "EASQ"):
        model = method(name)
        model.compile(answered_rows=50, run_eagerly=True)
        with pytest.raises(ValueError, match="The last 50 rows of a batch hold the answers"):
            model.train_on_batch(*batch())
