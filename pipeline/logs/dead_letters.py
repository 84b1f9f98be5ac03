"""Dead letters: the rows that could not be used, each with its reason.

A dead letter holds the row's place, the reason, the ids and the offending values, nothing else
of the row: logs are personal data.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.logs.user_ids import UserIdKey

DEAD_LETTER_SCHEMA = pa.schema(
    [
        ("table", pa.string()),  # impressions, questionnaires, users, items
        ("file", pa.string()),  # relative to the data directory
        ("row", pa.int64()),  # in that file, from 1 at the first data row
        ("reason", pa.string()),
        ("values", pa.string()),  # JSON: the ids and the offending values, as the file has them
    ]
)

_LONGEST_TEXT = 100


def dead_letters(
    table: str,
    file: str | Sequence[str],
    rows: Sequence[int] | np.ndarray,
    reason: str | Sequence[str],
    values: Sequence[Mapping[str, Any]],
) -> pa.RecordBatch:
    """Dead letters of one table, one for each of `rows`.

    Args:
        table: its name.
        file: of all rows, or one for each row.
        rows: row numbers, from 1.
        reason: of all rows, or one for each row.
        values: for each row, the ids and the offending values by column.
    """
    count = len(rows)

    def each(value: str | Sequence[str]) -> Sequence[str]:
        return [value] * count if isinstance(value, str) else value

    text = [
        json.dumps({name: plain_value(value) for name, value in row.items()}, ensure_ascii=False)
        for row in values
    ]
    columns = [[table] * count, each(file), np.asarray(rows, np.int64), each(reason), text]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(columns, DEAD_LETTER_SCHEMA, strict=True)
        ],
        schema=DEAD_LETTER_SCHEMA,
    )


def plain_value(value: Any) -> Any:
    """A value as JSON can hold it: infinite numbers, times and bytes as text, long text cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="backslashreplace")
    text = str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


class Rejections:
    """Collects which rows of a batch are rejected and why; the first reason of a row counts.

    Args:
        batch: the rows as the file has them.
        ids: the columns that identify a row; every dead letter holds them.
        hashed: columns with user ids, of which it holds the hashes.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        ids: Sequence[str],
        hashed: Mapping[str, UserIdKey] | None = None,
    ):
        self._batch, self._ids, self._hashed = batch, tuple(ids), hashed or {}
        self._code = np.zeros(batch.num_rows, np.int16)
        self._reasons: list[tuple[str, tuple[str, ...]]] = []

    def add(self, reason: str, bad: np.ndarray | None, *columns: str) -> None:
        """Rejects the rows where `bad` (None: nowhere) because of what `columns` hold."""
        if bad is None or not bad.any():
            return
        self._reasons.append((reason, columns))
        self._code[bad & (self._code == 0)] = len(self._reasons)

    @property
    def kept(self) -> np.ndarray | None:
        """Mask of the rows that nothing was found against; None if that is all of them."""
        return (self._code == 0) if self._reasons else None

    def letters(
        self,
        table: str,
        file: str,
        numbers: np.ndarray,
        malformed: Sequence[tuple[int, int, int]],
    ) -> pa.RecordBatch:
        """The dead letters, the malformed rows' first.

        Args:
            table, file: their names.
            numbers: the batch's row numbers in the file.
            malformed: rows that are not in the batch: (row number, fields found, expected).
        """
        rows = [row for row, _, _ in malformed]
        reasons = ["malformed_row"] * len(rows)
        values: list[dict[str, Any]] = [
            {"fields": found, "expected": expected} for _, found, expected in malformed
        ]
        at = np.flatnonzero(self._code)
        taken = self._batch.take(pa.array(at)) if len(at) else self._batch
        for index, code in enumerate(self._code[at]):
            reason, columns = self._reasons[code - 1]
            reasons.append(reason)
            shown = dict.fromkeys((*self._ids, *columns))
            values.append({name: self._value(taken, name, index) for name in shown})
        return dead_letters(table, file, [*rows, *numbers[at].tolist()], reasons, values)

    def _value(self, rows: pa.RecordBatch, column: str, index: int) -> Any:
        value = _raw(rows.column(column)[index])
        key = self._hashed.get(column)
        return value if key is None else key.hash_value(value)


def _raw(scalar: pa.Scalar) -> Any:
    if pa.types.is_timestamp(scalar.type):
        return None if not scalar.is_valid else str(scalar.cast(pa.int64()).as_py())
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.cast(pa.binary()).as_py()
