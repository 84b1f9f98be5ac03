"""One table a width computes what one table a feature computes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.layers import FeatureEmbedding, FeatureSpec
from easq_keras.layers.packed_embedding import PackedEmbedding

KINDS = st.sampled_from(["id", "categorical", "bucket", "numeric"])
LEVELS = st.sampled_from(["user", "candidate"])


def random_batch(specs, random, *, slates=3, width=5):
    batch = {"mask": np.arange(width) < random.integers(1, width + 1, (slates, 1))}
    for spec in specs:
        shape = (slates,) if spec.level == "user" else (slates, width)
        if spec.embedded:
            # Some of them outside the table, which reads row 0.
            batch[spec.name] = random.integers(-2, spec.num_buckets + 3, shape)
        else:
            batch[spec.name] = random.normal(size=shape).astype("float32")
    return batch


def packed_of(embedding):
    packed = PackedEmbedding(embedding.features)
    packed.build(packed.symbolic_shapes())
    packed.set_weights(packed.packed_weights(embedding))
    return packed


@settings(max_examples=20)
@given(
    st.lists(st.tuples(KINDS, LEVELS, st.integers(1, 20)), min_size=0, max_size=6),
    st.integers(0, 1000),
)
def test_it_equals_feature_embedding(described, seed):
    specs = [FeatureSpec("item", "id", num_buckets=7)]
    for place, (kind, level, buckets) in enumerate(described):
        size = None if kind == "numeric" else buckets
        specs.append(FeatureSpec(f"f{place}", kind, num_buckets=size, level=level))
    embedding = FeatureEmbedding(specs)
    embedding.build(embedding.symbolic_shapes())
    packed = packed_of(embedding)
    batch = random_batch(specs, np.random.default_rng(seed))
    np.testing.assert_array_equal(packed(batch), embedding(batch))


def test_there_is_one_table_a_width():
    embedding = FeatureEmbedding(
        [
            FeatureSpec("user", "id", num_buckets=10, level="user"),
            FeatureSpec("item", "id", num_buckets=20),
            FeatureSpec("topic", "categorical", num_buckets=5),
        ]
    )
    embedding.build(embedding.symbolic_shapes())
    packed = packed_of(embedding)
    assert [tuple(weight.shape) for weight in packed.weights] == [(5, 32), (30, 64)]


def test_it_comes_back_from_its_config():
    packed = PackedEmbedding([FeatureSpec("item", "id", num_buckets=20)], name="x")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(packed))
    assert [spec.get_config() for spec in again.features] == [
        spec.get_config() for spec in packed.features
    ]


def test_a_float_where_an_index_belongs_is_refused():
    packed = PackedEmbedding([FeatureSpec("item", "id", num_buckets=20)])
    with pytest.raises(ValueError, match="'item' is of kind 'id' and must hold integers"):
        packed({"item": np.array([[1.0]], "float32")})
