"""SAQRec: its offline models, what they freeze, and both losses by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.layers import FeatureSpec
from easq_keras.models import SAQRec, SAQRecSettings
from easq_keras.models.response_data import collect_responses
from easq_keras.models.saqrec import corrected_target, listwise_loss
from tests.easq_keras.models.small import ANSWERED, SIZES, SPECS, batch, method

ITEM = [FeatureSpec("user", "id", num_buckets=9, dim=2, level="user"), FeatureSpec("x", "numeric")]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def saqrec(**changes) -> SAQRec:
    keras.utils.set_random_seed(0)
    model = SAQRec(SPECS, **{**SIZES, **changes})
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    return model


def some_batches(number: int = 3):
    return (batch(seed) for seed in range(number))


def frozen_weights(model) -> list[np.ndarray]:
    return [np.asarray(v) for v in model.embedding.frozen.weights + model.embedding.imputer.weights]


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_corrected_target_leans_on_the_tower_where_they_agree(seed):
    rng = np.random.default_rng(seed)
    target, mask = rng.random((3, 4)).astype("float32"), rng.random((3, 4)) < 0.8
    logits = rng.normal(0, 2, (3, 4)).astype("float32")
    mask[0, :2] = True
    said = sigmoid(logits.astype("float64"))
    entropy = -(target * np.log(said) + (1 - target) * np.log(1 - said))
    least, most = entropy[mask].min(), entropy[mask].max()
    # The distribution function of Beta(1/2, 1/2).
    weight = 2 / np.pi * np.arcsin(np.sqrt(np.clip((entropy - least) / (most - least), 0, 1)))
    expected = weight * target + (1 - weight) * said
    found = np.asarray(corrected_target(target, logits, mask))
    # The slope of the arcsine is infinite at both ends.
    np.testing.assert_allclose(found[mask], expected[mask], atol=2e-3)


def test_listwise_is_the_cross_entropy_over_exposed_candidates():
    target = keras.ops.convert_to_tensor([[1.0, 0.0, 50.0], [0.3, 9.0, 9.0], [0.0, 2.0, 1.0]])
    scores = keras.ops.convert_to_tensor([[0.2, 0.1, -50.0], [7.0, 9.0, 9.0], [1.0, 0.0, 0.5]])
    shown = np.array([[True, True, False], [True, False, False], [True, True, True]])
    expected = []
    for row, places in ((0, [0, 1]), (2, [0, 1, 2])):  # one candidate alone is no list
        wanted, found = np.asarray(target)[row, places], np.asarray(scores)[row, places]
        wanted = np.exp(wanted) / np.exp(wanted).sum()
        expected.append(-(wanted * (found - np.log(np.exp(found).sum()))).sum())
    assert float(listwise_loss(target, scores, shown)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_second_tower_learns_what_was_imputed_and_later_what_was_corrected():
    model = method("SAQRec", correction_start=5)
    features, labels = batch()
    outputs = model(features, learning=True)
    mask = np.asarray(outputs["mask"])
    imputed, said = (np.asarray(outputs[name], "float64") for name in ("imputed", "auxiliary"))

    def entropy(target) -> float:
        values = np.logaddexp(0, said) - target * said
        return float(values[mask].mean())

    def loss() -> float:
        return float(model.objective(outputs, labels).terms["imputed"])

    assert loss() == pytest.approx(entropy(sigmoid(imputed)), rel=1e-5)
    model.trained_steps.assign(5)
    corrected = np.asarray(corrected_target(sigmoid(imputed), outputs["auxiliary"], mask))
    assert loss() == pytest.approx(entropy(corrected), rel=1e-4)


def test_steps_are_counted():
    model = saqrec()
    model.pretrained.assign(1)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    assert int(model.trained_steps) == 2


def test_imputed_satisfaction_is_the_last_input_of_each_candidate():
    model = method("SAQRec")
    features, _ = batch()
    x = np.asarray(model.embedding(features))
    logits = np.asarray(model.embedding.impute(features))
    np.testing.assert_allclose(x[..., -1], 2 * sigmoid(logits) - 1, atol=1e-6)
    assert not np.any(x[features["mask"] == 0])
    assert x.shape[-1] == model.embedding.output_dim


@pytest.mark.parametrize("kind", ["mlp", "logistic"])
def test_pretraining_fills_what_training_then_leaves_alone(kind):
    model = saqrec(imputer=kind)
    tower = [np.asarray(v) for v in model.tower.weights]
    before = frozen_weights(model)
    figures = model.pretrain(some_batches)
    assert figures["answers"] == 3 * ANSWERED
    assert np.isfinite([figures["loss/propensity"], figures["loss/satisfaction"]]).all()
    filled = frozen_weights(model)
    assert all(np.any(old != new) for old, new in zip(before, filled, strict=True))
    for old, new in zip(tower, model.tower.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    for seed in range(2):
        model.train_on_batch(*batch(seed))
    for old, new in zip(filled, frozen_weights(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not {id(v) for v in model.trainable_variables} & {
        id(v) for v in model.embedding.frozen.weights + model.embedding.imputer.weights
    }


def test_answers_are_weighted_by_the_inverse_of_their_propensity():
    model = saqrec(imputer="logistic")
    rng = np.random.default_rng(0)
    # Those at +1 answer four times as readily as those at -1.
    exposed = np.repeat([[1.0], [-1.0]], 500, axis=0).astype("float32")
    answered = np.where(rng.random((1000, 1)) < 0.8, 1.0, -1.0).astype("float32")
    inverse, _ = model._inverse_propensity(answered, exposed)
    ready, slow = inverse[answered[:, 0] == 1], inverse[answered[:, 0] == -1]
    assert np.mean(inverse) == pytest.approx(1.0)
    assert slow.mean() / ready.mean() == pytest.approx(4.0, rel=0.35)


def test_training_before_pretraining_is_refused():
    with pytest.raises(ValueError, match="call that before `fit`"):
        saqrec().train_on_batch(*batch())


def test_pretraining_before_compile_is_refused():
    with pytest.raises(ValueError, match="call that first"):
        SAQRec(SPECS, **SIZES).pretrain(some_batches)


def test_answers_of_one_kind_are_refused():
    def satisfied():
        for seed in range(2):
            features, labels = batch(seed)
            yield features, {**labels, "answer": np.where(labels["answer"] >= 0, 1, -1)}

    model = saqrec()
    with pytest.raises(ValueError, match=r"answers of both kinds\. Received: 8 satisfied of 8"):
        model.pretrain(satisfied)
    assert not int(model.pretrained)


def collected(batches, **options):
    return collect_responses(batches, ITEM, **options)


def slates(behaviour, answer, user=(1, 2), mask=None):
    rows, width = np.shape(behaviour)
    features = {
        "user": np.array(user[:rows]),
        "x": np.arange(rows * width, dtype="float32").reshape(rows, width),
    }
    if mask is not None:
        features["mask"] = np.array(mask)
    return features, {"behaviour": np.array(behaviour), "answer": np.array(answer)}


def test_an_answer_that_comes_again_counts_once():
    again = slates([[1, 0], [-1, -1]], [[-1, -1], [0, 1]])
    data = collected([again, again])
    np.testing.assert_array_equal(data.answered["x"], [2, 3])
    np.testing.assert_array_equal(data.answered["user"], [2, 2])
    np.testing.assert_array_equal(data.answers, [0, 1])
    np.testing.assert_array_equal(data.exposed["x"], [0, 1, 0, 1])


def test_padding_and_what_is_no_answer_do_not_count():
    data = collected(
        [slates([[1, 0, 2]], [[0.5, 2.0, 1.0]], mask=[[1, 1, 0]])],
    )
    np.testing.assert_array_equal(data.answers, [0.5])
    np.testing.assert_array_equal(data.exposed["x"], [0, 1])


def test_no_more_exposed_candidates_are_kept_than_asked_for_and_they_are_drawn_evenly():
    many = [slates([[0] * 50, [1] * 50], [[-1] * 50] * 2) for _ in range(40)]
    data = collected(many, max_exposed=300)
    assert len(data.exposed["x"]) == len(data.exposed["user"]) == 300
    # 150 of 300 are expected of each user, with a standard deviation below 9.
    assert abs(int(np.sum(data.exposed["user"] == 1)) - 150) < 45


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "pairs"}, "`target` must be one of 'tower', 'listwise'"),
        ({"imputer": "tree"}, "`imputer` must be one of 'mlp', 'logistic'"),
        ({"lambda_imputed": -1.0}, "`lambda_imputed` must be a finite number of at least 0"),
        ({"correction_start": -3}, "`correction_start` must be a positive integer"),
        ({"propensity_clip": 0.0}, "`propensity_clip` must be a finite number above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SAQRecSettings(**values)
