"""The Imputation Network: EASQ's shaping without EASQ's isolation."""

import keras
import numpy as np
import pytest

from easq_keras.models import EASQ, EASQSettings, ImputationNetwork, ImputationSettings
from tests.easq_keras.models.small import ANSWERED, SIZES, SPECS, batch, method


def trained(model, seeds=(0, 1), answers: bool = True):
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(0.1),
        answered_rows=ANSWERED,
        run_eagerly=True,
    )
    for seed in seeds:
        model.train_on_batch(*batch(seed, answers=answers))
    return [np.asarray(v) for v in model.weights]


def twin_of_easq(**settings) -> EASQ:
    keras.utils.set_random_seed(0)
    shaped = EASQSettings(
        use_moe=True, use_lora=False, use_dpo=False, shaping=0.5, dpo_ramp_steps=0
    )
    return EASQ(SPECS, settings=shaped, **SIZES, **settings)


def test_with_its_head_detached_it_is_easq_without_lora_and_dpo_its_levels_shaped():
    for ours, theirs in zip(
        trained(method("Imputation", joint=False)), trained(twin_of_easq()), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_joined_it_takes_the_gradient_of_both_losses_into_the_trunk_and_its_own_into_each_head():
    joint, apart = method("Imputation"), twin_of_easq()
    start = {v.path.partition("/")[2]: np.asarray(v) for v in joint.trainable_variables}
    lost = {}
    for name, model in (("joint", joint), ("apart", apart)):
        model.lora = None
        trained(model, seeds=(0,))
        lost[name] = {
            v.path.partition("/")[2]: start[v.path.partition("/")[2]] - np.asarray(v)
            for v in model.trainable_variables
        }
    for path, change in lost["joint"].items():
        same = path.split("/")[0] in ("tower", "satisfaction_tower")
        assert np.allclose(change, lost["apart"][path], atol=1e-7) == same, path


def test_the_weight_of_answers_counts_in_the_trunk():
    heavy = trained(method("Imputation", lambda_satisfaction=3.0), seeds=(0,))
    light = trained(method("Imputation", lambda_satisfaction=0.0), seeds=(0,))
    assert any(np.any(left != right) for left, right in zip(heavy, light, strict=True))


def test_without_answers_neither_the_head_nor_its_weight_matters():
    steps = [
        trained(method("Imputation", lambda_satisfaction=weight), answers=False)
        for weight in (0.0, 3.0)
    ]
    for left, right in zip(*steps, strict=True):
        np.testing.assert_array_equal(left, right)


def test_where_the_answers_lie_does_not_change_the_step():
    after = []
    for rows in (None, ANSWERED):
        model = method("Imputation")
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.optimizers.SGD(0.1),
            answered_rows=rows,
            run_eagerly=True,
        )
        model.train_on_batch(*batch())
        after.append([np.asarray(v) for v in model.weights])
    for plain, told in zip(*after, strict=True):
        np.testing.assert_allclose(plain, told, atol=1e-6)


def test_dpo_is_refused():
    with pytest.raises(ValueError, match="has no DPO"):
        ImputationSettings(use_dpo=True)


def test_settings_of_easq_are_refused():
    with pytest.raises(ValueError, match="`settings` must be ImputationSettings"):
        ImputationNetwork(SPECS, settings=EASQSettings())
