"""A table's files: found, checked, and read as they are, in record batches of bounded size."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.logs.checked import suggest
from pipeline.logs.columns import Table
from pipeline.logs.errors import LogError
from pipeline.logs.places import (
    is_folder,
    is_remote,
    joined,
    matching_files,
    names_in,
    open_file,
    open_stream,
)

BATCH_ROWS = 65_536
_CSV_BLOCK_BYTES = 4 << 20
DATA_SUFFIXES = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True)
class LogPart:
    """A stretch of a file that one worker reads: row groups of a Parquet file, or a whole CSV.

    Attributes:
        table: impressions, questionnaires, users or items.
        path: the file; a URI where it lies in an object store.
        name: the file relative to the data directory.
        index: number of the file within the table, in the order of the names.
        row_groups: of a Parquet file; empty for a CSV.
        first_row: number of the part's first row in the file, from 1.
    """

    table: str
    path: str
    name: str
    index: int
    row_groups: tuple[int, ...] = ()
    first_row: int = 1


@dataclass(frozen=True)
class RawBatch:
    """Rows as the file has them.

    Attributes:
        rows: the columns asked for; of a CSV as bytes.
        numbers: int64, each row's number in the file, from 1 at the first data row.
        malformed: of a CSV, rows with another number of fields than the header:
            (row number, fields found, fields expected).
    """

    rows: pa.RecordBatch
    numbers: np.ndarray
    malformed: list[tuple[int, int, int]] = field(default_factory=list)


def find_files(table: Table, table_name: str, data_dir: str | Path) -> list[str]:
    """A table's files, relative to the data directory, in the order of their names.

    Raises:
        LogError: no such directory, no file matches, or a file lies there twice (zipped too).
    """
    wanted = " or ".join(table.path)
    with _reading(data_dir):
        there = is_folder(data_dir)
        found = {
            name
            for pattern in (table.path if there else ())
            for name in matching_files(data_dir, pattern)
            if not PurePosixPath(name).name.startswith(".")
        }
    if not there:
        raise LogError(str(data_dir), "no such directory", "give the directory that holds the logs")
    if not found:
        tables = [name for name in names_in(data_dir)[0] if name.endswith(DATA_SUFFIXES)]
        held = f"the directory holds {', '.join(tables[:8]) or 'no Parquet or CSV file'}"
        raise LogError(
            joined(data_dir, table.path[0]),
            f"no file matches tables.{table_name}.path ({wanted})",
            f"{held}; put the file there or change tables.{table_name} in the dataset config",
        )
    by_stem: dict[str, str] = {}
    for name in sorted(found):
        stem = name
        for suffix in (".gz", ".csv", ".parquet"):
            stem = stem.removesuffix(suffix)
        if stem in by_stem:
            raise LogError(
                joined(data_dir, name),
                f"holds the same table as {PurePosixPath(by_stem[stem]).name}",
                "keep one of the two, or narrow the path in the dataset config",
            )
        by_stem[stem] = name
    return sorted(found)


def find_parts(
    table: Table, table_name: str, data_dir: str | Path, *, rows_per_part: int = 1_000_000
) -> tuple[LogPart, ...]:
    """A table's files cut into parts of about `rows_per_part` rows (a CSV file is one part).

    Raises:
        LogError: as `find_files`; also a Parquet file that cannot be opened.
    """
    parts = []
    for index, name in enumerate(find_files(table, table_name, data_dir)):
        path = joined(data_dir, name)
        groups = _row_group_sizes(path) if name.endswith(".parquet") else []
        first, taken, rows = 1, [], 0
        for group, size in enumerate(groups):
            taken.append(group)
            rows += size
            if rows >= rows_per_part or group == len(groups) - 1:
                parts.append(LogPart(table_name, path, name, index, tuple(taken), first))
                first, taken, rows = first + rows, [], 0
        if not groups:
            parts.append(LogPart(table_name, path, name, index))
    return tuple(parts)


def _row_group_sizes(path: str) -> list[int]:
    with _reading(path), open_file(path) as source, pq.ParquetFile(source) as file:
        return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def read_schema(path: str | Path) -> pa.Schema:
    """The columns of a file; those of a CSV are all binary. Raises `LogError`."""
    with _reading(path):
        if str(path).endswith(".parquet"):
            with open_file(path) as source:
                return pq.read_schema(source)
        with _CsvLines(path) as lines:
            header = lines.read_header()
    if not header.removeprefix(b"\xef\xbb\xbf").strip():
        raise LogError(str(path), "the file is empty", "remove it, or write at least its header")
    with _reading(path):
        read = pa.csv.read_csv(io.BytesIO(header))
        return pa.schema([(name, pa.binary()) for name in read.column_names])


def has_rows(path: str | Path) -> bool:
    """Whether a file holds at least one row. Raises `LogError`."""
    with _reading(path):
        if str(path).endswith(".parquet"):
            with open_file(path) as source:
                return pq.read_metadata(source).num_rows > 0
        with _CsvLines(path) as lines:
            while lines.count < 2 and lines.read(1 << 16):
                pass
            return lines.count >= 2


def require_columns(path: str | Path, columns: Sequence[str], schema: pa.Schema) -> None:
    """Raises `LogError` unless each of `columns` is in `schema` exactly once."""
    for column in columns:
        times = schema.names.count(column)
        if times == 0:
            hint = suggest(column, schema.names)
            shown = ", ".join(schema.names[:40])
            remedy = f"the file has {shown}{hint}; name the right one in the dataset config"
            if len(schema.names) == 1 and any(mark in shown for mark in "\t;|"):
                remedy = f"the header is {shown!r}: separate the columns by commas"
            raise LogError(str(path), "no such column", remedy, column=column)
        if times > 1:
            raise LogError(
                str(path), f"{times} columns have this name", "rename the others", column=column
            )


def read_part(part: LogPart, columns: Sequence[str]) -> Iterator[RawBatch]:
    """The part's rows in batches of bounded size, `columns` only.

    Raises:
        LogError: the file is missing, truncated or damaged, or a CSV's rows are not one a line.
    """
    if part.path.endswith(".parquet"):
        yield from _read_parquet(part, columns)
    else:
        yield from _read_csv(part, columns)


def _read_parquet(part: LogPart, columns: Sequence[str]) -> Iterator[RawBatch]:
    number = part.first_row
    # In an object store, many small reads would each wait for an answer.
    ahead = is_remote(part.path)
    with (
        _reading(part.path),
        open_file(part.path) as source,
        # Where the writer left checksums: what can be decompressed may still be damaged.
        pq.ParquetFile(source, pre_buffer=ahead, page_checksum_verification=True) as file,
    ):
        batches = file.iter_batches(
            batch_size=BATCH_ROWS, row_groups=part.row_groups, columns=list(columns)
        )
        for batch in batches:
            numbers = np.arange(number, number + batch.num_rows, dtype=np.int64)
            number += batch.num_rows
            yield RawBatch(batch.select(list(columns)), numbers)


def _read_csv(part: LogPart, columns: Sequence[str]) -> Iterator[RawBatch]:
    malformed: list[tuple[int, int, int]] = []  # found, but not handed on yet

    def skip(row: Any) -> str:  # Arrow counts the header
        malformed.append((row.number - 1, row.actual_columns, row.expected_columns))
        return "skip"

    number = 1
    with _reading(part.path), _CsvLines(part.path) as lines:
        reader = pa.csv.open_csv(
            lines,
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        empty = pa.RecordBatch.from_pylist([], reader.schema)
        for batch in reader:
            numbers = _row_numbers(number, batch.num_rows, [row for row, _, _ in malformed])
            number = int(numbers[-1]) + 1 if len(numbers) else number
            passed = sum(row < number for row, _, _ in malformed)
            yield RawBatch(batch, numbers, malformed[:passed])
            del malformed[:passed]
        if malformed:
            number = malformed[-1][0] + 1
            yield RawBatch(empty, np.empty(0, np.int64), malformed)
        rows = number - 1
        if lines.count - 1 != rows:
            raise LogError(
                part.path,
                f"{lines.count} lines, but a header and {rows} rows",
                "write one row a line: no line breaks within quotes, every quote closed; "
                "or use Parquet",
            )


def _row_numbers(first: int, count: int, skipped: list[int]) -> np.ndarray:
    """The next `count` row numbers from `first` on that were not skipped."""
    passed = [row for row in skipped if row >= first]
    numbers = np.arange(first, first + count + len(passed), dtype=np.int64)
    return np.setdiff1d(numbers, passed, assume_unique=True)[:count] if passed else numbers


class _CsvLines(io.RawIOBase):
    """The bytes of a CSV file, unzipped where its name ends in .gz, and their lines counted."""

    def __init__(self, path: str | Path):
        super().__init__()
        self._stream = open_stream(path)
        self._newlines, self._last = 0, b"\n"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(None if size < 0 else size)
        self._newlines += data.count(b"\n")
        self._last = data[-1:] or self._last
        return data

    def read_header(self) -> bytes:
        """The first line."""
        header = b""
        while b"\n" not in header and (data := self.read(1 << 16)):
            header += data
        return header.split(b"\n", 1)[0] + b"\n"

    @property
    def count(self) -> int:
        """Lines read so far; the last one need not end in a line break."""
        return self._newlines + (self._last != b"\n")

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turns the errors of reading `path` into a `LogError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise LogError(str(path), "no such file", "was it moved while it was read?") from error
    except UnicodeDecodeError as error:
        raise LogError(
            str(path), "the name of a column is not UTF-8", "write the file in UTF-8"
        ) from error
    except (pa.ArrowException, OSError, EOFError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        if is_remote(path):
            remedy = "check its name, the right to read it, and that it is whole"
        elif isinstance(error, OSError) or str(path).endswith(".parquet"):
            remedy = "the file is cut off or damaged: copy or write it again"
        else:
            remedy = "write one row a line and close every quote, or use Parquet"
        raise LogError(str(path), f"cannot be read ({said})", remedy) from error
