"""What no model may depend on: the order of the candidates, and what padding holds."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.easq_keras.models.small import WIDTH, batch, easq, emer, wake

MODELS = ("emer", "paper", "recommended")
PER_CANDIDATE = ("item_id", "ctr", "mask")


@functools.cache
def model_of(name: str):
    keras.utils.set_random_seed(0)
    if name == "emer":
        return emer()
    model = easq(name)
    wake(model)
    return model


@pytest.mark.parametrize("name", MODELS)
@given(order=st.permutations(range(WIDTH)), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_scores_follow_their_candidates(name, order, seed):
    features, _ = batch(seed)
    moved = {k: v[:, order] if k in PER_CANDIDATE else v for k, v in features.items()}
    straight, permuted = model_of(name)(features), model_of(name)(moved)
    for output in straight:
        np.testing.assert_allclose(
            permuted[output], np.asarray(straight[output])[:, order], atol=2e-5
        )


@pytest.mark.parametrize("name", MODELS)
@given(
    number=st.sampled_from([0.0, 1e30, np.inf, np.nan]),
    index=st.integers(-5, 2**31),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_what_padding_holds_changes_no_score_loss_or_gradient(name, number, index, seed):
    model = model_of(name)
    features, labels = batch(seed)
    padding = features["mask"] == 0
    other = {
        **features,
        "item_id": np.where(padding, index, features["item_id"]),
        "ctr": np.where(padding, number, features["ctr"]).astype("float32"),
    }
    for output, scores in model(features).items():
        np.testing.assert_array_equal(scores, model(other)[output])
        assert not np.any(np.asarray(scores)[padding])
    first, second = (model.objective(model(f, learning=True), labels) for f in (features, other))
    for term, value in first.terms.items():
        assert float(value) == float(second.terms[term])


@pytest.mark.parametrize("name", MODELS)
@given(extra=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_more_padding_changes_no_score(name, extra, seed):
    features, _ = batch(seed)
    wider = {
        k: np.pad(v, [(0, 0), (0, extra)]) if k in PER_CANDIDATE else v for k, v in features.items()
    }
    straight, padded = model_of(name)(features), model_of(name)(wider)
    for output in straight:
        np.testing.assert_allclose(
            np.asarray(padded[output])[:, :WIDTH], straight[output], atol=2e-5
        )


@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 99))
@settings(max_examples=5)
def test_a_slate_is_scored_by_itself(name, seed):
    features, _ = batch(seed)
    together = model_of(name)(features)
    alone = model_of(name)({k: v[2:3] for k, v in features.items()})
    for output in together:
        np.testing.assert_allclose(
            np.asarray(together[output])[2:3], alone[output], rtol=1e-5, atol=2e-5
        )


@given(seed=st.integers(0, 99), shift=st.integers(1, 2**40))
@settings(max_examples=8)
def test_the_number_of_a_pair_group_means_nothing(seed, shift):
    model = model_of("paper")
    features, labels = batch(seed)
    renamed = {
        **labels,
        "pair_group": np.where(labels["pair_group"] < 0, -3, labels["pair_group"] + shift),
    }
    outputs = model(features, learning=True)
    terms, others = (model.objective(outputs, y).terms for y in (labels, renamed))
    for term, value in terms.items():
        assert float(value) == pytest.approx(float(others[term]), rel=1e-6)
