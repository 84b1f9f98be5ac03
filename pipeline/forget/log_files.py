"""Rows of users taken out of log tables; every other row stays as it is, byte for byte in a CSV."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.files import LogPart, read_part, read_schema, require_columns
from pipeline.logs.values import parse_text
from pipeline.whole_files import sync_folder, whole_file


@dataclass(frozen=True)
class LogFile:
    """A file of a table with user ids: which table, where, and the column that holds them."""

    table: str
    path: Path
    column: str


def user_files(dataset: DatasetConfig, folder: Path, *, answers_only: bool) -> list[LogFile]:
    """The files with users' rows in a folder of logs or of spans, whatever lies in between.

    Args:
        dataset: what the tables mean.
        folder: looked through with all folders in it, hidden and unfinished ones too.
        answers_only: the questionnaires alone.

    Raises:
        LogError: no file of the dataset lies there.
    """
    columns = {}
    if not answers_only:
        columns["impressions"] = dataset.columns.user_id
        if dataset.tables.users is not None:
            columns["users"] = dataset.users_key
    if dataset.questionnaire.columns is not None:
        columns["questionnaires"] = dataset.questionnaire.columns.user_id
    found: dict[Path, LogFile] = {}
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    for table, column in columns.items():
        for place in folders:
            for pattern in getattr(dataset.tables, table).path:
                for path in sorted(place.glob(pattern)):
                    if path.is_file():
                        found.setdefault(path, LogFile(table, path, column))
    if not found:
        tried = ", ".join(
            pattern for table in columns for pattern in getattr(dataset.tables, table).path
        )
        raise LogError(
            str(folder), f"no file of the dataset {dataset.name} lies here ({tried})",
            "give the folder of the logs or of the spans, and the dataset they are of",
        )  # fmt: skip
    return list(found.values())


def rows_of(file: LogFile, users: frozenset[str]) -> np.ndarray:
    """The numbers of the users' rows, from 1, in ascending order.

    A CSV line with another number of fields than the header is theirs if any of its fields is.

    Raises:
        LogError: the file cannot be read, or has no such column.
    """
    path = str(file.path)
    require_columns(path, [file.column], read_schema(path))
    wanted = pa.array(sorted(users), pa.string())
    found: list[np.ndarray] = [np.zeros(0, np.int64)]
    malformed: list[int] = []
    groups = ()
    if path.endswith(".parquet"):
        groups = tuple(range(pq.read_metadata(path).num_row_groups))
    for raw in read_part(LogPart(file.table, path, path, 0, groups), [file.column]):
        text = parse_text(raw.rows.column(file.column)).values
        theirs = pc.is_in(text, value_set=wanted).to_numpy(zero_copy_only=False)
        found.append(raw.numbers[theirs])
        malformed += [number for number, _, _ in raw.malformed]
    if malformed:
        found.append(_malformed_of(file.path, set(malformed), users))
    return np.sort(np.concatenate(found))


def _malformed_of(path: Path, numbers: set[int], users: frozenset[str]) -> np.ndarray:
    with _opened(path) as lines:
        texts = (
            (number, line.decode("utf-8", "replace"))
            for number, line in enumerate(lines)
            if number in numbers
        )
        theirs = [
            number for number, line in texts if users & {cell for row in csv.reader([line])
                                                         for cell in row}
        ]  # fmt: skip
    return np.array(theirs, np.int64)


def remove_rows(path: Path, numbers: np.ndarray) -> None:
    """Rewrites a file without some rows, in one step."""
    with whole_file(path) as partial:
        if path.name.endswith(".parquet"):
            _copy_parquet(path, partial, numbers)
        else:
            _copy_lines(path, partial, set(numbers.tolist()))
        with partial.open("rb") as written:
            os.fsync(written.fileno())
    sync_folder(path.parent)


def _copy_parquet(source: Path, target: Path, numbers: np.ndarray) -> None:
    with pq.ParquetFile(source) as file:
        metadata = file.metadata
        compression = "snappy"
        if metadata.num_row_groups and metadata.num_columns:
            compression = metadata.row_group(0).column(0).compression
        with pq.ParquetWriter(
            target, file.schema_arrow,
            compression="none" if compression == "UNCOMPRESSED" else compression,
            write_page_checksum=True,
        ) as writer:  # fmt: skip
            first = 1
            for group in range(metadata.num_row_groups):
                table = file.read_row_group(group)
                here = np.arange(first, first + table.num_rows)
                first += table.num_rows
                writer.write_table(table.filter(pa.array(~np.isin(here, numbers))))


def _copy_lines(source: Path, target: Path, numbers: set[int]) -> None:
    with _opened(source) as lines, target.open("wb") as raw:
        zipped = source.name.endswith(".gz")
        stream = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if zipped else raw
        for number, line in enumerate(lines):  # the header is line 0
            if number not in numbers:
                stream.write(line)
        if zipped:
            stream.close()


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a CSV file, unzipped where its name ends in .gz, line by line."""
    with path.open("rb") as raw:
        if path.name.endswith(".gz"):
            with gzip.open(raw) as stream:
                yield stream
        else:
            yield raw
