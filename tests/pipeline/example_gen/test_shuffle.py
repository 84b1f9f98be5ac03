"""Tables cut into shards of users, and their way through bytes."""

import resource
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.example_gen.shuffle import InFile, Shuffle, from_bytes, shards_of, to_bytes


def test_bytes_keep_tables_and_several_become_one():
    first = pa.table({"id": ["a", "ü"], "list": pa.array([[1], [2, 3]], pa.large_list(pa.int64()))})
    second = first.slice(1)
    assert from_bytes([to_bytes(first), to_bytes(second)]).equals(pa.concat_tables([first, second]))
    empty = first.slice(0, 0)
    assert from_bytes([to_bytes(empty)]).equals(empty)


TABLES = [pa.table({"id": [text] * 3, "row": [1, 2, number]}) for number, text in enumerate("äbc")]


def test_tables_travel_in_the_elements_or_wait_in_a_file(tmp_path: Path) -> None:
    inside = list(Shuffle(None).send(TABLES))
    assert inside == [to_bytes(table) for table in TABLES]
    shuffle = Shuffle(str(tmp_path / "unfinished" / "shuffled"))
    waiting = [*shuffle.send(TABLES), *shuffle.send(TABLES[:1])]
    assert all(isinstance(one, InFile) for one in waiting)
    assert len({one.path for one in waiting}) == 2
    assert [from_bytes([one]) for one in waiting] == [*TABLES, TABLES[0]]
    assert from_bytes([waiting[2], inside[0]]).equals(pa.concat_tables([TABLES[2], TABLES[0]]))


def test_a_table_can_be_read_as_soon_as_it_is_sent(tmp_path: Path) -> None:
    for sent, table in zip(Shuffle(str(tmp_path)).send(TABLES), TABLES, strict=True):
        assert from_bytes([sent]).equals(table)


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}/[0-9a-f]*'"):
            list(Shuffle(str(tmp_path)).send(TABLES))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


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
