"""From a dictionary of features to one vector a candidate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.src import testing

from easq_keras.layers import FeatureEmbedding, FeatureSpec, SlateEncoder

SPECS = (
    FeatureSpec("age", "numeric", level="user"),
    FeatureSpec("user_id", "id", num_buckets=4, dim=2, level="user"),
    FeatureSpec("item_id", "id", num_buckets=6, dim=3),
    FeatureSpec("ctr", "numeric"),
)


def batch(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "age": np.array([0.5, -0.5]),
        "user_id": np.array([1, 2]),
        "item_id": np.array([[5, 1, 0], [3, 0, 0]]),
        "ctr": np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        **changes,
    }


@keras.saving.register_keras_serializable(package="test")
class ListedFeatures(FeatureEmbedding):
    """Takes the features as a list: Keras's harness spreads a dictionary over arguments."""

    def _named(self, listed):
        return dict(zip((spec.name for spec in self.features), listed, strict=True))

    def build(self, input_shape):
        super().build(self._named(input_shape))

    def call(self, inputs):
        return super().call(self._named(inputs))

    def compute_output_shape(self, input_shape):
        return super().compute_output_shape(self._named(input_shape))

    def compute_mask(self, inputs, previous_mask=None):
        return super().compute_mask({}, previous_mask)


class FeatureEmbeddingTest(testing.TestCase):
    def test_keras_harness(self) -> None:
        self.run_layer_test(
            ListedFeatures,
            {"features": [spec.get_config() for spec in SPECS], "embeddings_regularizer": "l2"},
            input_shape=[(2,), (2,), (2, 3), (2, 3)],
            input_dtype=["float32", "int32", "int32", "float32"],
            expected_output_shape=(2, 3, 7),
            expected_num_trainable_weights=2,
            expected_num_losses=2,
            supports_masking=True,
            custom_objects={"ListedFeatures": ListedFeatures},
            # Nor can it train on a list: see below.
            run_training_check=False,
        )


def test_joins_the_features_in_order_and_repeats_those_of_the_user() -> None:
    layer = FeatureEmbedding(SPECS)
    x = ops.convert_to_numpy(layer(batch()))
    users = ops.convert_to_numpy(layer.tables["user_id"].embeddings)
    items = ops.convert_to_numpy(layer.tables["item_id"].embeddings)
    for row, candidate in np.ndindex(2, 3):
        expected = np.concatenate(
            [
                batch()["age"][row, None],
                users[batch()["user_id"][row]],
                items[batch()["item_id"][row, candidate]],
                batch()["ctr"][row, candidate, None],
            ]
        )
        np.testing.assert_allclose(x[row, candidate], expected, rtol=1e-6)


@pytest.mark.parametrize("index", [-1, 6, 2**31 - 1])
@pytest.mark.parametrize("jit", [False, True])
def test_an_index_out_of_range_reads_row_0(index: int, jit: bool) -> None:
    layer = FeatureEmbedding(SPECS)
    inputs = batch(item_id=np.array([[5, index, 0], [3, 0, 0]]))
    layer(inputs)
    x = tf.function(layer, jit_compile=jit)(inputs)
    np.testing.assert_array_equal(x[0, 1, 3:6], x[0, 2, 3:6])


def test_padding_comes_out_as_zeros_whatever_it_holds_and_learns_nothing() -> None:
    layer = FeatureEmbedding(SPECS)
    inputs = batch(
        mask=np.array([[1, 1, 0], [0, 0, 0]]),
        ctr=np.array([[0.1, 0.2, np.nan], [np.inf, np.nan, 1.0]]),
        age=np.array([0.5, np.nan]),
    )
    with tf.GradientTape() as tape:
        x = layer(inputs)
        total = ops.sum(x)
    gradient = tape.gradient(total, layer.tables["item_id"].embeddings.value)
    np.testing.assert_array_equal(x[0, 2], np.zeros(7))
    np.testing.assert_array_equal(x[1], np.zeros((3, 7)))
    touched = tf.convert_to_tensor(gradient)[:, 0]
    np.testing.assert_array_equal(touched, [0.0, 1.0, 0.0, 0.0, 0.0, 1.0])


def test_trains_with_fit() -> None:
    inputs = {
        "user_id": keras.Input((), dtype="int32", name="user_id"),
        "item_id": keras.Input((3,), dtype="int32", name="item_id"),
    }
    model = keras.Model(inputs, keras.layers.Dense(1)(FeatureEmbedding(SPECS[1:3])(inputs)))
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    data = {name: batch()[name] for name in inputs}
    target = np.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [5.0]]])
    before = model.evaluate(data, target, verbose=0)
    model.fit(data, target, epochs=60, verbose=0)
    assert model.evaluate(data, target, verbose=0) < 0.05 * before


def test_the_mask_travels_on_to_layers_that_use_it() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    x = FeatureEmbedding(SPECS)(batch(mask=mask))
    np.testing.assert_array_equal(x._keras_mask, mask.astype(bool))


def test_features_that_are_not_asked_for_are_ignored() -> None:
    layer = FeatureEmbedding(SPECS)
    expected = layer(batch())
    np.testing.assert_array_equal(layer(batch(noise=np.array(["a", "b"]))), expected)


def test_tables_start_apart_though_the_initializer_has_a_seed() -> None:
    specs = [FeatureSpec("a", "id", 5, dim=2), FeatureSpec("b", "id", 5, dim=2)]
    seeded = keras.initializers.RandomUniform(seed=3)
    layer = FeatureEmbedding(specs, embeddings_initializer=seeded)
    layer.build({"a": (1, 1), "b": (1, 1)})
    a, b = (ops.convert_to_numpy(layer.tables[name].embeddings) for name in "ab")
    assert not np.array_equal(a, b)


def test_specs_come_back_from_the_config() -> None:
    layer = FeatureEmbedding(SPECS, embeddings_initializer="zeros")
    again = FeatureEmbedding.from_config(layer.get_config())
    assert again.features == SPECS
    assert isinstance(again.embeddings_initializer, keras.initializers.Zeros)


def test_saves_and_loads_with_its_tables(tmp_path) -> None:
    inputs = {
        "user_id": keras.Input((), dtype="int32", name="user_id"),
        "item_id": keras.Input((3,), dtype="int32", name="item_id"),
    }
    model = keras.Model(inputs, FeatureEmbedding(SPECS[1:3])(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    data = {name: batch()[name] for name in inputs}
    np.testing.assert_array_equal(again(data), model(data))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([SPECS[0]], "at least one feature at candidate level"),
        ([], "at least one feature at candidate level"),
        ([SPECS[2], SPECS[2]], r"Received twice: \['item_id'\]"),
    ],
)
def test_wrong_features_are_refused(features: list[FeatureSpec], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureEmbedding(features)


def test_an_absent_feature_and_a_wrong_rank_are_named() -> None:
    layer = FeatureEmbedding(SPECS)
    incomplete = batch()
    del incomplete["ctr"]
    with pytest.raises(ValueError, match=r"'ctr' is absent from the batch, which has \['age'"):
        layer(incomplete)
    with pytest.raises(ValueError, match=r"'user_id' is at user level.*\(batch,\).*\(2, 1\)"):
        layer(batch(user_id=np.array([[1], [2]])))
    with pytest.raises(ValueError, match=r"'ctr' is at candidate level.*\(batch, slate\).*\(2,\)"):
        layer(batch(ctr=np.array([1.0, 2.0])))


def test_widths_that_differ_are_named() -> None:
    layer = FeatureEmbedding(SPECS)
    with pytest.raises(ValueError, match=r"'ctr' and 'item_id' must have one shape.*\(2, 2\)"):
        layer(batch(ctr=np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"'mask' and 'item_id' must have one shape.*\(2, 4\)"):
        layer(batch(mask=np.ones((2, 4))))


@pytest.mark.parametrize("index", [np.ones((2, 3)), np.full((2, 3), "a")])
def test_an_index_that_is_no_integer_is_refused(index: np.ndarray) -> None:
    with pytest.raises(ValueError, match="'item_id' is of kind 'id' and must hold integers"):
        FeatureEmbedding(SPECS)(batch(item_id=index))


def test_ragged_slates_are_refused_with_advice() -> None:
    layer = FeatureEmbedding(SPECS)
    with pytest.raises(ValueError, match=r"`item_id` is ragged\. Pad the slates to one width"):
        layer.call(batch(item_id=tf.ragged.constant([[1, 2, 3], [4]])))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_slates_and_slates_of_no_width_pass(shape: tuple[int, int]) -> None:
    empty = {
        "age": np.zeros(shape[0]),
        "user_id": np.zeros(shape[0], int),
        "item_id": np.zeros(shape, int),
        "ctr": np.zeros(shape),
        "mask": np.zeros(shape),
    }
    assert FeatureEmbedding(SPECS)(empty).shape == (*shape, 7)


def test_in_a_functional_model_the_mask_reaches_the_backbone(tmp_path) -> None:
    inputs = {
        "item_id": keras.Input((3,), dtype="int32", name="item_id"),
        "mask": keras.Input((3,), dtype="int32", name="mask"),
    }
    embedding = FeatureEmbedding([SPECS[2]])
    h = SlateEncoder(4, num_heads=2)(embedding(inputs))
    keras.Model(inputs, h).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    mask = np.array([[1, 1, 0]])
    first, second = (model({"item_id": np.array([[1, 2, i]]), "mask": mask}) for i in (3, 4))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[0, 2], np.zeros(4))
