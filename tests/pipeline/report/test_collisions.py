"""How many ids share a row of a table: counted where all are named, else computed."""

import math

import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report.collisions import (
    advice,
    collisions,
    counted_share,
    expected_share,
    next_prime,
)
from tests.pipeline.conftest import TINY_DATASET


def statistics_of(folder, **ids):
    """Statistics of a train split; a feature's ids are a number or, where all are named, a list."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    features = proto.datasets.add().features
    for name, values in ids.items():
        feature = features.add(name=name)
        named = values if isinstance(values, list) else ["some", "of", "many"]
        feature.string_stats.unique = len(values) if isinstance(values, list) else values
        for value in named:
            feature.string_stats.rank_histogram.buckets.add(label=value)
    features.add(name="length").num_stats.mean = 3.0
    path = folder / "Split-train" / "FeatureStats.pb"
    path.parent.mkdir()
    path.write_bytes(proto.SerializeToString())
    return str(folder)


def dataset_with(*items):
    """The tiny dataset; each of `items` is a hashed feature of the items' column."""
    features = [
        {"name": name, "table": "items", "column": "item", "level": "candidate", **rest}
        for name, rest in items
    ]
    return DatasetConfig.from_dict({**TINY_DATASET, "features": features})


def test_ids_beyond_those_named_are_thrown_into_the_rows(tmp_path):
    dataset = dataset_with(("item_id", {"kind": "id", "buckets": 1001}))
    (entry,) = collisions(statistics_of(tmp_path, item_id=500), dataset)
    assert entry["share"] == pytest.approx(1 - math.exp(-0.5))  # 500 ids in 1,000 rows
    assert (entry["ids"], entry["buckets"], entry["measured"]) == (500, [1001], False)
    assert entry["advice"] == "buckets: 4747 leaves 10%"  # 500 / -ln(0.9) = 4745.6


def test_named_ids_are_hashed_as_transform_hashes_them(tmp_path):
    names = [f"topic {number}" for number in range(6)]
    rows = tf.strings.to_hash_bucket_fast(names, 7).numpy().tolist()
    sharing = sum(rows.count(row) > 1 for row in rows)
    assert 0 < sharing < 6
    dataset = dataset_with(("topic", {"kind": "categorical", "buckets": 8}))
    # What is missing is no id: it has a row of its own.
    (entry,) = collisions(statistics_of(tmp_path, topic=[*names, ""]), dataset)
    assert (entry["ids"], entry["measured"]) == (6, True)
    assert entry["share"] == pytest.approx(sharing / 6)


def test_two_tables_of_one_column_are_one_entry_and_tell_ids_apart(tmp_path):
    dataset = dataset_with(
        ("item_id", {"kind": "id", "buckets": 102}), ("item_id_2", {"kind": "id", "buckets": 104})
    )
    (entry,) = collisions(statistics_of(tmp_path, item_id=1000, item_id_2=1000), dataset)
    assert entry["features"] == ["item_id", "item_id_2"]
    assert entry["share"] == pytest.approx(1 - math.exp(-1000 / (101 * 103)))  # 9.2 %
    assert entry["advice"] is None


def test_numbers_have_no_ids(tmp_path):
    dataset = DatasetConfig.from_dict(TINY_DATASET)
    entries = collisions(statistics_of(tmp_path, user_id=9, item_id=9, hour=["8", "9"]), dataset)
    assert [entry["features"] for entry in entries] == [["user_id"], ["item_id"], ["hour"]]


def test_counting_finds_what_the_formula_says():
    ids = [str(number) for number in range(20_000)]
    assert counted_share(ids, [40_000]) == pytest.approx(expected_share(20_000, [40_000]), abs=0.01)
    both = [997, 1009]
    assert counted_share(ids, both) == pytest.approx(expected_share(20_000, both), abs=0.005)
    assert counted_share([], [7]) == 0


def test_many_ids_are_advised_two_primes_and_few_one_table():
    # sqrt(10^6 / 10^-5) = 316,227.8; the primes from there on are 316,241 and 316,243.
    assert advice(1_000_000) == (
        "two features of the column with buckets: 316242 and 316244 leave 0.001%; one would need "
        "9491223"
    )
    assert advice(20) == "buckets: 191 leaves 10%"


@pytest.mark.parametrize(
    ("least", "prime"), [(0, 2), (2, 2), (8, 11), (14, 17), (100_000, 100_003)]
)
def test_the_next_prime(least, prime):
    assert next_prime(least) == prime
