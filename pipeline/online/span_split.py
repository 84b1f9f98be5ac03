"""Cuts an existing log into spans, each row as it is, so that a stream can be replayed from it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.example_gen.columnar import Ints
from pipeline.logs.columns import TimeColumn
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.files import LogPart, read_part, read_schema
from pipeline.logs.readers import find_tables
from pipeline.logs.values import parse_time
from pipeline.online.spans import SUCCESS_FILE, SpanError, span_name

BASE = "_base"
_STEPS_MS = {"day": 86_400_000, "hour": 3_600_000}
_HOUR_MS = _STEPS_MS["hour"]


def split_into_spans(
    dataset: DatasetConfig,
    data_dir: str | Path,
    out_dir: str | Path,
    by: Literal["day", "hour"],
    *,
    base: int = 0,
) -> dict[str, int]:
    """Writes a folder a day or an hour, and the users and items tables beside them.

    Impressions go by their time, answers by the time at which they were given (unanswered
    questions by when they were issued). Rows without a readable time go into the first span, where
    ExampleGen rejects and counts them. Days begin when the dataset's do (`slate.rebuild`). Files
    keep their names and formats.

    Args:
        dataset: what the tables mean.
        data_dir: the log.
        out_dir: for the spans; must not hold any of them.
        by: the length of a span.
        base: so many of the first spans go, as one log, into `_base`: for a full fit before.

    Returns:
        By span, its rows of impressions and questionnaires; `malformed`: lines of CSV files with
        another number of fields than their header, which are left out.

    Raises:
        LogError: the log cannot be read.
        SpanError: slates are days and spans hours, or there are too few spans, or some are there.
    """
    rebuild = dataset.slate.rebuild
    if by == "hour" and rebuild is not None and rebuild.by == "user_day":
        raise SpanError(
            data_dir, "a slate of this dataset is a day of a user", "split it by day, not by hour"
        )
    offset_ms = int(rebuild.utc_offset_hours * _HOUR_MS) if rebuild is not None else 0
    tables = find_tables(dataset, data_dir)
    log = [*tables["impressions"], *tables.get("questionnaires", ())]
    numbers = sorted(
        {
            int(number)
            for part in log
            for _, spans, _ in _batches(part, dataset, by, offset_ms, only_times=True)
            for number in np.unique(spans[spans >= 0])
        }
    )
    if base >= len(numbers):
        raise SpanError(
            data_dir, f"the log has {len(numbers)} spans", f"leave some after a base of {base}"
        )
    names = {number: span_name(number * _STEPS_MS[by], by) for number in numbers}
    names |= dict.fromkeys(numbers[:base], BASE)
    folder = Path(out_dir)
    _refuse_existing(folder, list(dict.fromkeys(names.values())))
    counts: Counter[str] = Counter(dict.fromkeys(names.values(), 0))
    with ExitStack() as stack:
        writers: dict[tuple[str, str], _Writer] = {}
        for part in log:
            for rows, spans, malformed in _batches(part, dataset, by, offset_ms):
                counts["malformed"] += malformed
                spans = np.where(spans < 0, numbers[0], spans)
                for number in np.unique(spans):
                    name = names[int(number)]
                    if (name, part.name) not in writers:
                        path = folder / _unfinished(name) / part.name
                        writer = stack.enter_context(_Writer(path, rows.schema))
                        writers[name, part.name] = writer
                    some = rows.filter(pa.array(spans == number))
                    writers[name, part.name].write(some)
                    counts[name] += some.num_rows
    features = (*tables.get("users", ()), *tables.get("items", ()))
    for place in (folder, folder / _unfinished(BASE)) if base else (folder,):
        for part in features:
            (place / part.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part.path, place / part.name)
    for name in dict.fromkeys(names.values()):
        (folder / _unfinished(name) / SUCCESS_FILE).touch()
        os.replace(folder / _unfinished(name), folder / name)
    return dict(counts)


def _unfinished(name: str) -> str:
    return f".{name}.partial"


def _refuse_existing(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).exists():
            raise SpanError(
                folder / name, "is there already", "remove it, or choose another folder"
            )
        shutil.rmtree(folder / _unfinished(name), ignore_errors=True)


def _batches(
    part: LogPart,
    dataset: DatasetConfig,
    by: Literal["day", "hour"],
    offset_ms: int,
    *,
    only_times: bool = False,
) -> Iterator[tuple[pa.RecordBatch, Ints, int]]:
    """Rows of a part, the span of each (−1: no readable time), and how many were malformed."""
    columns = _time_columns(part.table, dataset)
    names = [column.column for column in columns]
    wanted = list(dict.fromkeys(names)) if only_times else read_schema(part.path).names
    for raw in read_part(part, wanted):
        times = [
            parse_time(raw.rows.column(column.column), column.unit).values for column in columns
        ]
        moment = pc.coalesce(*times)
        spans = pc.fill_null(moment, -1).to_numpy()
        spans = np.where(spans < 0, -1, (spans + offset_ms) // _STEPS_MS[by])
        yield raw.rows, spans, len(raw.malformed)


def _time_columns(table: str, dataset: DatasetConfig) -> list[TimeColumn]:
    if table == "impressions":
        return [dataset.columns.time]
    asked = dataset.questionnaire.columns
    assert asked is not None
    return [asked.answered, asked.issued]


class _Writer:
    """A file of one span, in the format its name says."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = pa.output_stream(str(path), compression="detect")
        if path.name.endswith(".parquet"):
            self._writer = pq.ParquetWriter(self._stream, schema, write_page_checksum=True)
        else:
            self._writer = pa.csv.CSVWriter(self._stream, schema)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._stream.close()

    def write(self, rows: pa.RecordBatch) -> None:
        self._writer.write_batch(rows)
