"""The blend: trained like EASQ without transfer, summed when it ranks."""

import keras
import numpy as np
import pytest

from easq_keras.export import scoring_model
from easq_keras.models import BlendSettings
from easq_keras.models.blend import SummedTowers
from tests.easq_keras.models.small import ANSWERED, batch, method


def trained(name: str, **changes):
    model = method(name, **changes)
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    return model


def test_it_learns_what_easq_without_dpo_learns():
    blend, easq = trained("Blend"), trained("EASQ-w/o-DPO")
    for ours, theirs in zip(blend.trainable_variables, easq.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    features, _ = batch(7)
    blend.trade_off.assign(0.0)
    np.testing.assert_array_equal(blend(features)["score"], easq(features)["score"])


def test_the_score_is_the_sum_in_units_of_the_spread_of_behaviour():
    model = method("Blend")
    features, _ = batch()
    model.trade_off.assign(0.0)
    behaviour = np.asarray(model(features)["score"])
    model.trade_off.assign(0.7)
    model.score_scale.assign([3.0, 0.5])
    outputs = model(features)
    expected = behaviour + 0.7 * 3.0 / 0.5 * np.asarray(outputs["satisfaction"])
    np.testing.assert_allclose(outputs["score"], expected, rtol=1e-5)


def test_a_collapsed_satisfaction_score_is_not_blown_up():
    model = method("Blend", alpha=1.0)
    model.score_scale.assign([1.0, 1e-7])
    assert float(model.satisfaction_weight()) == pytest.approx(10.0)


def test_alpha_plays_no_part_in_training():
    small, large = trained("Blend", alpha=0.1), trained("Blend", alpha=9.0)
    for left, right in zip(small.trainable_variables, large.trainable_variables, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_factor_is_folded_when_it_is_exported():
    model = trained("Blend", alpha=0.4)
    model.trade_off.assign(2.0)
    scorer = scoring_model(model)
    assert isinstance(scorer.tower, SummedTowers)
    assert scorer.tower.weight == pytest.approx(float(model.satisfaction_weight()))
    features, _ = batch(8)
    before = np.asarray(scorer(features))
    np.testing.assert_allclose(before, model(features)["score"], atol=1e-6)
    model.trade_off.assign(0.0)
    np.testing.assert_array_equal(scorer(features), before)


@pytest.mark.parametrize("settings", [{"use_dpo": True}, {"shaping": 0.5}])
def test_what_transfers_while_it_learns_is_refused(settings):
    with pytest.raises(ValueError, match="transfers nothing while it learns"):
        BlendSettings(**settings)


def test_summed_towers_come_back_from_their_config():
    towers = SummedTowers(
        keras.layers.Dense(1, name="a"), keras.layers.Dense(1, name="b"), weight=0.5
    )
    h = np.ones((2, 3, 4), "float32")
    expected = np.asarray(towers(h))
    again = SummedTowers.from_config(towers.get_config())
    again.build((2, 3, 4))
    again.set_weights(towers.get_weights())
    np.testing.assert_array_equal(again(h), expected)
