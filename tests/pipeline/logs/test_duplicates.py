"""Copies of rows: the first one counts, wherever it lies in the table."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.duplicates import later_copies


def rows(values: list[tuple], names: tuple[str, ...] = ("user", "n", "x")) -> pa.Table:
    columns = {name: [row[i] for row in values] for i, name in enumerate(names)}
    types = {"user": pa.string(), "n": pa.int64(), "x": pa.float32()}
    table = pa.table({name: pa.array(columns[name], types[name]) for name in names})
    place = range(len(values))
    table = table.append_column("_file", pa.array([0] * len(values), pa.int32()))
    return table.append_column("_row", pa.array(place, pa.int64()))


def test_every_copy_but_the_first_is_marked() -> None:
    table = rows([("a", 1, 0.5), ("b", 1, 0.5), ("a", 1, 0.5), ("a", 2, 0.5), ("a", 1, 0.5)])
    assert later_copies(table).tolist() == [False, False, True, False, True]


def test_the_first_is_the_first_in_the_files_not_in_the_table() -> None:
    table = rows([("a", 1, 0.5)] * 3)
    table = table.set_column(3, "_file", pa.array([1, 0, 0], pa.int32()))
    table = table.set_column(4, "_row", pa.array([1, 9, 2]))
    assert later_copies(table).tolist() == [True, True, False]


def test_nulls_are_equal_to_each_other_and_to_nothing_else() -> None:
    table = rows([(None, 0, None), (None, 0, None), ("", 0, None), (None, None, 0.0)])
    assert later_copies(table).tolist() == [False, True, False, False]


def test_only_the_given_columns_are_compared() -> None:
    table = rows([("a", 1, 0.5), ("a", 2, 0.5)])
    assert later_copies(table, ["user"]).tolist() == [False, True]


def test_no_rows_have_no_copies() -> None:
    assert later_copies(rows([])).tolist() == []


FEW = st.tuples(
    st.sampled_from(["a", "b", None]), st.sampled_from([0, 1, -1, None]), st.sampled_from([0.0, 1])
)


@given(st.lists(FEW, max_size=40), st.randoms(use_true_random=False))
def test_what_is_left_is_each_row_once_in_any_order_of_the_table(values, chance) -> None:
    shuffled = list(range(len(values)))
    chance.shuffle(shuffled)
    table = rows(values).take(pa.array(shuffled, pa.int64()))
    kept = table.filter(pa.array(~later_copies(table)))
    firsts = {value: place for place, value in reversed(list(enumerate(values)))}
    assert sorted(kept["_row"].to_pylist()) == sorted(firsts.values())
