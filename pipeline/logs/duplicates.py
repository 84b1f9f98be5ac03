"""Rows that repeat an earlier one."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def later_copies(rows: pa.Table, columns: Sequence[str] | None = None) -> np.ndarray:
    """Mask of the rows that equal a row earlier in the files (by `_file`, then `_row`).

    All copies of a row have to be in `rows`, in any order. What counts is the columns the
    dataset uses: rows that differ only in a column nobody reads are copies too.

    Args:
        rows: canonical rows, with `_file` and `_row`.
        columns: compared columns; default: all but `_file` and `_row`. Nulls are equal.
    """
    names = columns or [name for name in rows.column_names if name not in ("_file", "_row")]
    codes = [_codes(rows.column(name)) for name in names]
    mixed = np.zeros(rows.num_rows, np.uint64)
    for code in codes:
        mixed = mix(mixed ^ code)
    order = np.argsort(mixed, kind="stable")
    repeated = mixed[order[1:]] == mixed[order[:-1]]
    several = np.zeros(rows.num_rows, bool)
    several[order[1:][repeated]] = several[order[:-1][repeated]] = True
    at = np.flatnonzero(several)
    place = rows.select(["_file", "_row"]).take(pa.array(at))
    at = at[np.lexsort((place["_row"].to_numpy(), place["_file"].to_numpy(), mixed[at]))]
    equal = np.logical_and.reduce([code[at[1:]] == code[at[:-1]] for code in codes])
    copies = np.zeros(rows.num_rows, bool)
    copies[at[1:][equal]] = True
    return copies


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """uint64 numbers that are equal exactly where the values are."""
    if pa.types.is_string(column.type):
        encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # no rows
            return np.empty(0, np.uint64)
        return encoded.indices.to_numpy().astype(np.uint64)
    missing = column.is_null().to_numpy()
    if pa.types.is_floating(column.type):
        bits = column.cast(pa.float64()).fill_null(0.0).to_numpy().view(np.uint64)
    else:
        bits = column.cast(pa.int64()).fill_null(0).to_numpy().astype(np.uint64)
    return bits ^ (missing.astype(np.uint64) << np.uint64(63))


def mix(bits: np.ndarray) -> np.ndarray:
    """Spreads every bit over all 64 (the finaliser of MurmurHash3, a bijection)."""
    bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return bits ^ (bits >> np.uint64(33))
