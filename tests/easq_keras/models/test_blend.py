"""The blend: EMER's ŷ and EASQ's ŝ, learnt apart and summed when it ranks."""

import numpy as np
import pytest

from easq_keras.export import scoring_model
from easq_keras.models import BlendSettings
from tests.easq_keras.models.small import ANSWERED, batch, method


def trained(name: str, **changes):
    model = method(name, **changes)
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    return model


def test_its_behaviour_score_is_that_of_emer_whatever_is_answered():
    blend, emer = method("Blend", alpha=0.0), method("EMER", use_moe=False)
    for part in ("embedding", "backbone", "tower"):
        getattr(emer, part).set_weights(getattr(blend, part).get_weights())
    for model in (blend, emer):
        model.compile(answered_rows=ANSWERED, run_eagerly=True)
        for seed in range(3):
            model.train_on_batch(*batch(seed))
    features, _ = batch(7)
    np.testing.assert_array_equal(blend(features)["score"], emer(features)["score"])


def test_its_satisfaction_score_learns_as_that_of_easq_without_dpo():
    blend, easq = method("Blend"), method("EASQ-w/o-DPO")
    before = [np.asarray(v) for v in blend.satisfaction_variables]
    for model in (blend, easq):
        model.compile(answered_rows=ANSWERED, run_eagerly=True)
        model.train_on_batch(*batch())
    # From the second step on their backbones differ: that of EASQ learns through h + Δh.
    ours, theirs = blend.satisfaction_variables, easq.satisfaction_variables
    for start, left, right in zip(before, ours, theirs, strict=True):
        assert not np.array_equal(start, left)
        np.testing.assert_array_equal(left, right)


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
    assert scorer.tower_weight == pytest.approx(float(model.satisfaction_weight()))
    features, _ = batch(8)
    before = np.asarray(scorer(features))
    np.testing.assert_allclose(before, model(features)["score"], atol=1e-6)
    model.trade_off.assign(0.0)
    np.testing.assert_array_equal(scorer(features), before)


@pytest.mark.parametrize("settings", [{"use_dpo": True}, {"shaping": 0.5}])
def test_what_transfers_while_it_learns_is_refused(settings):
    with pytest.raises(ValueError, match="transfers nothing while it learns"):
        BlendSettings(**settings)
