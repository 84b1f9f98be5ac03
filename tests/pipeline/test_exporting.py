"""The signatures of the served model, called on the SavedModel as it is loaded back from disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.exporting import export_ranker
from pipeline.slate_schema import slate_schema
from tests.pipeline.conftest import TINY_SLATES

WIDTH = 4


@keras.saving.register_keras_serializable(package="tests")
class LengthRanker(keras.Model):
    """Scores a candidate by its standardised length, plus 100 where the slate's hour is missing."""

    def call(self, features, training=None):
        missing = keras.ops.cast(keras.ops.equal(features["hour"], 0), "float32")
        return features["length_z"] + 100.0 * missing[:, None]


@pytest.fixture(scope="module")
def directory(tiny_dataset, tiny_transform_output, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("export") / "model")
    export_ranker(LengthRanker(), tiny_transform_output, tiny_dataset, directory)
    return directory


@pytest.fixture(scope="module")
def served(directory):
    return tf.saved_model.load(directory)


def raw_request(slates, width):
    """The named tensors of `serving_default` for slates of conftest."""

    def padded(column, fill):
        rows = [[row[column] for row in rows] for _, _, rows in slates]
        return [row + [fill] * (width - len(row)) for row in rows]

    return {
        "user_id": tf.constant([user for user, _, _ in slates]),
        "hour": tf.constant([hour for _, hour, _ in slates]),
        "item_id": tf.constant(padded(0, "")),
        "length": tf.constant(padded(1, 0.0), tf.float32),
    }


def test_serving_default_takes_features_alone(served):
    _, inputs = served.signatures["serving_default"].structured_input_signature
    assert {name: (spec.dtype, spec.shape.rank) for name, spec in inputs.items()} == {
        "user_id": (tf.string, 1),
        "hour": (tf.string, 1),
        "item_id": (tf.string, 2),
        "length": (tf.float32, 2),
    }


def test_the_score_is_the_models_on_transformed_features(served, tiny_transformed):
    score = served.signatures["serving_default"](**raw_request(TINY_SLATES, WIDTH))["score"]
    mask = tiny_transformed["mask"] == 1
    np.testing.assert_allclose(score[mask], tiny_transformed["length_z"][mask], rtol=1e-6)


def test_padding_sorts_behind_every_candidate(served):
    score = served.signatures["serving_default"](**raw_request(TINY_SLATES, WIDTH))["score"]
    assert score[1, 2] == score[1, 3] == np.finfo(np.float32).min


def test_examples_without_labels_score_like_raw_tensors(served, tiny_dataset, tiny_examples):
    known = {feature.name for feature in slate_schema(tiny_dataset, labels=False).feature}
    stripped = []
    for serialized in tiny_examples:
        example = tf.train.Example.FromString(serialized)
        for name in set(example.features.feature) - known:
            del example.features.feature[name]
        stripped.append(example.SerializeToString())
    from_examples = served.signatures["serving_examples"](examples=tf.constant(stripped))["score"]
    from_tensors = served.signatures["serving_default"](**raw_request(TINY_SLATES, WIDTH))["score"]
    np.testing.assert_array_equal(from_examples, from_tensors)


def test_padding_may_stand_anywhere(served):
    request = raw_request(TINY_SLATES[:1], 3)
    scores = served.signatures["serving_default"](**request)["score"].numpy()[0]
    gap = {
        name: tf.gather(value, [0, 3, 1, 2], axis=1)
        for name, value in raw_request(TINY_SLATES[:1], WIDTH).items()
        if value.shape.rank == 2
    }
    spread = served.signatures["serving_default"](**{**request, **gap})["score"].numpy()[0]
    np.testing.assert_allclose(spread[[0, 2, 3]], scores, rtol=1e-6)
    assert spread[1] == np.finfo(np.float32).min


def test_lists_of_unequal_length_are_refused(served):
    request = raw_request(TINY_SLATES[:1], WIDTH)
    request["length"] = request["length"][:, :3]
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.signatures["serving_default"](**request)


def test_a_request_may_be_narrower_than_the_model(served):
    request = raw_request(TINY_SLATES[:2], 3)
    score = served.signatures["serving_default"](**request)["score"]
    wide = served.signatures["serving_default"](**raw_request(TINY_SLATES[:2], WIDTH))["score"]
    assert score.shape == (2, 3)
    np.testing.assert_array_equal(score, wide[:, :3])


def test_a_wider_request_is_refused_with_the_limit(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match="slate width 4"):
        served.signatures["serving_default"](**raw_request(TINY_SLATES, 5))


def test_unseen_ids_and_missing_features_are_served(served):
    request = raw_request(TINY_SLATES[:1], WIDTH)
    request["user_id"] = tf.constant(["never seen"])
    request["hour"] = tf.constant([""])
    score = served.signatures["serving_default"](**request)["score"]
    assert np.isfinite(score[0, :3]).all()
    assert score[0, 0] > 90  # the hour counts as missing


def test_transform_features_is_the_trainers_transform(served, tiny_examples, tiny_transformed):
    features = served.signatures["transform_features"](examples=tf.constant(tiny_examples))
    for name in ("mask", "item_id", "user_id", "hour", "length", "length_z", "length_rank"):
        np.testing.assert_array_equal(features[name], tiny_transformed[name])


@pytest.mark.parametrize("width", [1, 3, WIDTH])
def test_the_lite_part_continues_where_tensorflow_hands_over(served, directory, width):
    request = {
        name: value if value.shape.rank == 1 else value[:, :width]
        for name, value in raw_request(TINY_SLATES, WIDTH).items()
    }
    numbers = served.signatures["lite_inputs"](**request)
    interpreter = tf.lite.Interpreter(model_path=f"{directory}/assets.extra/split.tflite")
    lite = interpreter.get_signature_runner("serving_default")
    wanted = {name: numbers[name].numpy() for name in lite.get_input_details()}
    expected = served.signatures["serving_default"](**request)["score"]
    np.testing.assert_allclose(lite(**wanted)["score"], expected, rtol=1e-5)


class TextRanker(keras.Model):
    """Scores by the number of digits of the length, which LiteRT has no kernel for."""

    def call(self, features, training=None):
        return tf.cast(tf.strings.length(tf.strings.as_string(features["length_z"])), "float32")


def test_a_model_that_lite_cannot_run_is_written_without_it(
    tiny_dataset, tiny_transform_output, tmp_path, caplog
):
    export_ranker(TextRanker(), tiny_transform_output, tiny_dataset, str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model"))
    score = served.signatures["serving_default"](**raw_request(TINY_SLATES, WIDTH))["score"]
    assert np.isfinite(score).all()
    assert not (tmp_path / "model" / "assets.extra").exists()
    assert "has no assets.extra/split.tflite, TensorFlow serves it" in caplog.text
