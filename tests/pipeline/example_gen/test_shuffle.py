"""Tables cut into shards of users, and their way through bytes."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.example_gen.shuffle import from_bytes, shards_of, to_bytes


def test_bytes_keep_tables_and_several_become_one():
    first = pa.table({"id": ["a", "ü"], "list": pa.array([[1], [2, 3]], pa.large_list(pa.int64()))})
    second = first.slice(1)
    assert from_bytes([to_bytes(first), to_bytes(second)]).equals(pa.concat_tables([first, second]))
    empty = first.slice(0, 0)
    assert from_bytes([to_bytes(empty)]).equals(empty)


@settings(max_examples=100)
@given(st.lists(st.text(max_size=3), max_size=30), st.integers(1, 5))
def test_each_row_is_in_the_shard_of_its_user(ids, shards):
    table = pa.table(
        {"id": pa.array(ids, pa.string()), "row": pa.array(range(len(ids)), pa.int64())}
    )
    parts = dict(shards_of(table, "id", shards))
    assert list(parts) == list(range(shards))
    rows = [row for part in parts.values() for row in part.to_pylist()]
    assert sorted(row["row"] for row in rows) == list(range(len(ids)))
    assert all(ids[row["row"]] == row["id"] for row in rows)
    # Another table with the same users, in another order.
    again = dict(shards_of(pa.table({"id": pa.array(ids[::-1], pa.string())}), "id", shards))
    for shard, part in parts.items():
        assert set(part["id"].to_pylist()) == set(again[shard]["id"].to_pylist())


def test_a_user_has_the_same_shard_in_every_process():
    ids = pa.table({"id": ["ann", "bob", "çem", "", "1234567890"]})
    shard = {row["id"]: n for n, part in shards_of(ids, "id", 97) for row in part.to_pylist()}
    assert shard == {"": 40, "1234567890": 49, "ann": 57, "bob": 84, "çem": 55}
