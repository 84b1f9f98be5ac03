"""Grouping and looking up on whole Arrow columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
# A position in a table that is not there.
ABSENT = -1


def text_ranks(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Numbers the different strings of a column in the order of their UTF-8 bytes.

    Returns:
        The number of each row, and the strings by number. The numbers depend only on the set of
        strings, not on the order of the rows.
    """
    encoded = _one_chunk(column.dictionary_encode().unify_dictionaries())
    by_rank = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(by_rank), np.int64)
    rank[by_rank.to_numpy()] = np.arange(len(by_rank))
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return rank[codes], encoded.dictionary.take(by_rank)


def text_hashes(column: pa.ChunkedArray, key: str = "0123456789123456") -> NDArray[np.uint64]:
    """A number for each string, the same in every process and on every machine.

    Args:
        column: text without nulls.
        key: of the hash (SipHash), 16 characters. Hashes of different keys are independent.
    """
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows
        return np.zeros(0, np.uint64)
    texts = encoded.dictionary.to_numpy(zero_copy_only=False)
    hashed = pd.util.hash_array(texts, hash_key=key, categorize=False)
    return hashed[encoded.indices.to_numpy()]


def look_up_text(wanted: pa.ChunkedArray, known: pa.Array) -> Ints:
    """Where in `known` each string of `wanted` is first found; `ABSENT` where it is not."""
    found = pc.index_in(_plain(wanted), value_set=_plain(known))
    return _one_chunk(found.fill_null(ABSENT)).to_numpy().astype(np.int64)


def look_up(wanted: Ints, known: Ints) -> Ints:
    """Where in the sorted, distinct `known` each number of `wanted` is; `ABSENT` elsewhere."""
    if not len(known):
        return np.full(len(wanted), ABSENT, np.int64)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, ABSENT)


def starts_of_runs(*sorted_keys: NDArray[Any]) -> Ints:
    """Where a new combination of keys begins, in rows sorted by them; empty for no rows."""
    if not len(sorted_keys[0]):
        return np.zeros(0, np.int64)
    new = np.zeros(len(sorted_keys[0]), np.bool_)
    new[0] = True
    for key in sorted_keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def position_in_run(starts: Ints, rows: int) -> Ints:
    """0, 1, 2 ... within each run that begins at `starts`."""
    sizes = np.diff(np.append(starts, rows))
    return np.arange(rows) - np.repeat(starts, sizes)


def take(table: pa.Table, rows: Ints | Bools) -> pa.Table:
    """The rows by number or mask."""
    index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    return table.take(pa.array(index))


def numbers(table: pa.Table, name: str, *, missing: float | int | bool = 0) -> NDArray[Any]:
    """A numeric or boolean column as numpy, with `missing` for nulls."""
    column = table.column(name)
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(missing, column.type))
    return column.to_numpy()


def lists(offsets: Ints, values: pa.Array | NDArray[Any]) -> pa.LargeListArray:
    """A large list column from where each list begins (and the end of the last) and all values."""
    if not isinstance(values, pa.Array):
        values = pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def one_chunk(table: pa.Table, name: str) -> pa.Array:
    """A column as one plain array; dictionaries are decoded."""
    return _one_chunk(_plain(table.column(name)))


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def _one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)
