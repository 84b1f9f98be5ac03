"""What a batch may hold, what is refused by name, and what is let pass and counted."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.models import EASQ
from tests.easq_keras.models.small import ANSWERED, SPECS, WIDTH, batch, easq, emer

PRESETS = ("paper", "recommended")


def compiled(preset="recommended", answered_rows=None, **changes) -> EASQ:
    keras.utils.set_random_seed(0)
    model = easq(preset, **changes)
    model.compile(answered_rows=answered_rows, run_eagerly=True)
    return model


def learn(model, features, labels) -> dict[str, float]:
    return {
        k: float(v) for k, v in model.train_on_batch(features, labels, return_dict=True).items()
    }


def of_width(width: int, rows: int = 4):
    """Slates of a width in which every candidate is real and exposed, none of them answered."""
    rng = np.random.default_rng(0)
    features = {
        "user_id": rng.integers(0, 20, rows),
        "item_id": rng.integers(0, 30, (rows, width)),
        "ctr": rng.normal(size=(rows, width)).astype("float32"),
    }
    levels = rng.integers(0, 3, (rows, width)).astype("float32")
    return features, {"behaviour": levels, "answer": np.full((rows, width), -1, "float32")}


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("behaviour", np.s_[:, :3]),
        ("answer", np.s_[:4]),
        ("answer", np.s_[:, 0]),
        ("pair_group", np.s_[:, None]),
        ("pair_group", np.s_[:2]),
    ],
)
def test_a_label_of_another_shape_is_refused_by_name(name, cut):
    features, labels = batch()
    labels[name] = labels[name][cut]
    with pytest.raises(ValueError, match=f"The label '{name}' must have shape"):
        learn(compiled(), features, labels)


def test_behaviour_labels_are_required():
    features, labels = batch()
    del labels["behaviour"]
    with pytest.raises(ValueError, match="lack 'behaviour'"):
        learn(compiled(), features, labels)


def test_labels_are_a_dictionary():
    features, labels = batch()
    with pytest.raises(ValueError, match="of dictionaries"):
        compiled().train_on_batch(features, labels["behaviour"])


def test_sample_weights_are_refused():
    features, labels = batch()
    with pytest.raises(ValueError, match="Sample weights have no meaning"):
        compiled().train_on_batch(features, labels, sample_weight=np.ones(10))


def test_an_absent_feature_is_named():
    features, labels = batch()
    del features["item_id"]
    with pytest.raises(ValueError, match="'item_id' is absent"):
        learn(compiled(), features, labels)


def test_only_behaviour_is_required_and_without_answers_no_satisfaction_is_learnt():
    model = compiled()
    before = [v.numpy() for v in model.satisfaction_variables]
    features, labels = batch()
    logs = learn(model, features, {"behaviour": labels["behaviour"]})
    assert (logs["answers/coverage"], logs["answers/used"]) == (0, 0)
    for old, new in zip(before, model.satisfaction_variables, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_an_answer_between_0_and_1_is_a_share_of_satisfied(share):
    model = compiled()
    features, labels = batch(answered=1)
    labels["answer"][-1, 1] = share
    logit = float(model(features)["satisfaction"][-1, 1])
    log_yes, log_no = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    logs = learn(model, features, labels)
    expected = -share * log_yes - (1 - share) * log_no
    assert logs["loss/satisfaction"] == pytest.approx(expected, rel=1e-5)
    assert logs["answers/used"] == 1


def test_half_answers_stand_between_the_whole_ones_in_pairs():
    model = compiled("paper")
    features, labels = batch()
    labels["answer"][:] = -1
    labels["pair_group"][-3:] = 7
    labels["answer"][-3:, 0] = [1, 0.5, 0]
    assert learn(model, features, labels)["answers/used"] == 3  # 1 > ½, 1 > 0, ½ > 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("bad", [2.0, 1.01, np.inf])
def test_an_answer_above_1_is_ignored_and_counted(preset, bad):
    features, labels = batch()
    logs = learn(compiled(preset), features, labels)
    model = compiled(preset)
    labels["answer"][0, 0] = bad
    with_bad = learn(model, features, labels)
    assert with_bad.pop("labels/ignored") == logs.pop("labels/ignored") + 1
    assert with_bad == pytest.approx(logs, rel=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_labels_that_are_nan_are_none(preset):
    features, labels = batch()
    logs = learn(compiled(preset), features, labels)
    for name in ("behaviour", "answer"):
        labels[name] = np.where(labels[name] < 0, np.nan, labels[name])
    assert learn(compiled(preset), features, labels) == pytest.approx(logs, rel=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_whole_number_labels_are_as_good(preset):
    features, labels = batch()
    logs = learn(compiled(preset), features, labels)
    whole = {name: value.astype("int32") for name, value in labels.items()}
    assert learn(compiled(preset), features, whole) == pytest.approx(logs, rel=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_behaviour_in_answered_rows_is_never_learnt(preset):
    features, labels = batch()
    logs = learn(compiled(preset, ANSWERED), features, labels)
    features["mask"][-1] = 1
    before = learn(compiled(preset, ANSWERED), features, labels)
    labels["behaviour"][-1] = [2, 0, 1, 0, 2]
    after = learn(compiled(preset, ANSWERED), features, labels)
    assert after["labels/ignored"] == before["labels/ignored"] + 5
    assert after["loss/main"] == pytest.approx(before["loss/main"], rel=1e-6)
    assert after["loss/main"] == pytest.approx(logs["loss/main"], rel=1e-6)


@pytest.mark.parametrize("rows", [0, -1, 2.5, True])
def test_answered_rows_is_a_positive_number(rows):
    with pytest.raises(ValueError, match="`answered_rows` must be a positive integer"):
        easq().compile(answered_rows=rows)


def test_a_batch_smaller_than_the_answered_rows_is_refused():
    features, labels = batch(dense=2, answered=2)
    with pytest.raises(ValueError, match=r"The last 5 rows.*Received: a batch of 4"):
        learn(compiled(answered_rows=5), features, labels)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("width", [0, 1])
def test_slates_without_a_pair_teach_nothing(preset, width):
    model = compiled(preset)
    before = [v.numpy() for v in model.trainable_variables]
    features, labels = of_width(width)
    logs = learn(model, features, labels)
    assert logs["loss"] == 0
    for old, new in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert model(features)["score"].shape == (4, width)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_single_candidate_has_a_score(preset):
    features, _ = of_width(1)
    assert np.all(np.isfinite(compiled(preset)(features)["score"]))


@pytest.mark.parametrize("preset", PRESETS)
def test_slates_that_are_all_padding_score_0_and_teach_nothing(preset):
    model = compiled(preset)
    before = [v.numpy() for v in model.trainable_variables]
    features, labels = batch()
    features["mask"] = np.zeros_like(features["mask"])
    for name in ("score", "satisfaction"):
        assert not np.any(model(features)[name])
    logs = learn(model, features, labels)
    assert logs["loss"] == 0
    for old, new in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    # Nothing was routed, so nothing is said of the routers.
    routed = [value for name, value in logs.items() if name.endswith("dead_experts")]
    assert routed == ([0, 0] if model.settings.use_moe else [])


@pytest.mark.parametrize("preset", PRESETS)
def test_nan_in_a_real_candidate_makes_the_loss_nan(preset):
    features, labels = batch()
    features["ctr"][0, 0] = np.nan
    assert np.isnan(learn(compiled(preset), features, labels)["loss"])


def test_ragged_slates_are_refused_with_what_to_do():
    features = {
        "user_id": np.array([1, 2]),
        "item_id": tf.ragged.constant([[1, 2], [3]]),
        "ctr": tf.ragged.constant([[0.1, 0.2], [0.3]]),
    }
    with pytest.raises(ValueError, match="is ragged"):
        emer()(features)


def test_a_loss_of_ones_own_is_refused_and_not_lost():
    for model in (emer(), easq()):
        with pytest.raises(TypeError, match="takes no \\['loss', 'metrics'\\]"):
            model.compile(loss="mse", metrics=["accuracy"])


def test_a_misspelt_setting_is_named():
    with pytest.raises(ValueError, match="lambda_dop"):
        EASQ.from_preset("paper", SPECS, lambda_dop=1.0)
    with pytest.raises(ValueError, match="`preset` must be one of 'recommended', 'paper'"):
        EASQ.from_preset("papers", SPECS)


def test_settings_of_the_wrong_model_are_refused():
    with pytest.raises(ValueError, match="`settings` must be EASQSettings"):
        EASQ(SPECS, settings=emer().settings)


def test_a_backbone_must_keep_the_slate():
    with pytest.raises(ValueError, match="`backbone` must map"):
        EASQ(SPECS, backbone=keras.layers.GlobalAveragePooling1D(name="pooled"))


def test_a_reference_model_goes_with_the_frozen_reference_only():
    with pytest.raises(ValueError, match="goes with dpo_reference='frozen'"):
        easq().compile(reference_model=emer())
    with pytest.raises(ValueError, match="goes with dpo_reference='frozen'"):
        easq(dpo_reference="frozen").compile()
    with pytest.raises(ValueError, match="reference_model"):
        easq(dpo_reference="frozen")(batch()[0], learning=True)


class NoisyReference(keras.Model):
    """Scores that training noise would change."""

    def __init__(self):
        super().__init__()
        self.noise = keras.layers.Dropout(0.5, seed=0)

    def call(self, features, training=None):
        scores = keras.ops.ones((features["mask"].shape[0], WIDTH)) + features["ctr"]
        return {"score": self.noise(scores, training=training)}


@pytest.mark.parametrize("pairs", ["slate", "answers"])
def test_the_frozen_reference_is_asked_as_it_serves_and_never_trained(pairs):
    keras.utils.set_random_seed(0)
    model = easq(dpo_reference="frozen", dpo_pairs=pairs)
    reference = NoisyReference()
    model.compile(reference_model=reference, run_eagerly=True)
    features, labels = batch()
    terms = [
        float(model.objective(model(features, training=True, learning=True), labels).terms["dpo"])
        for _ in range(2)
    ]
    assert terms[0] == terms[1]
    assert not {id(v) for v in reference.variables} & {id(v) for v in model.variables}
