"""The tables of one span: read, checked against the time of the span, every row accounted for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.example_gen.columnar import Bools, numbers, one_chunk, take
from pipeline.example_gen.counts import Counts, read_counts
from pipeline.example_gen.slates import row_letters
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.files import LogPart, has_rows
from pipeline.logs.readers import (
    QUESTIONNAIRE_ROWS,
    FeatureTable,
    find_table,
    no_impressions,
    read_features,
    read_impressions,
    read_questionnaires,
)
from pipeline.online.spans import Span, data_files

OUTSIDE_SPAN = "time_outside_span"


@dataclass(frozen=True)
class SpanTables:
    """What a span holds.

    Attributes:
        impressions: canonical rows.
        questionnaires: canonical rows; None where answers are read from behaviours.
        users, items: canonical rows of the whole tables, or None.
        file_names: by table, what `_file` counts through.
        newest_ms: the newest time of an impression or an answer; None if there is none.
        counts: of the rows read, and of those rejected here.
        dead_letters: by table, those of the rows rejected here.
    """

    impressions: pa.Table
    questionnaires: pa.Table | None
    users: pa.Table | None
    items: pa.Table | None
    file_names: dict[str, tuple[str, ...]]
    newest_ms: int | None
    counts: Counts
    dead_letters: dict[str, list[pa.Table]]


def read_span(config: DatasetConfig, span: Span, *, shared: Path, delay_ms: float) -> SpanTables:
    """Reads the tables of a span.

    A span may hold no impressions, or nothing at all. Rows of another time than the span's are
    rejected (`time_outside_span`): impressions more than `delay_ms` before or after it, answers
    more than that after it. The time of a dated span is in its name; that of a numbered one is
    where nine tenths of its impressions are, and as much again on both sides.

    Args:
        config: the dataset.
        span: which.
        shared: folder of the users and items tables where the span brings none.
        delay_ms: see above.

    Raises:
        LogError: a table cannot be read, or files lie there but none of impressions.
    """
    counts: Counts = Counter()
    letters: dict[str, list[pa.Table]] = {}
    names: dict[str, tuple[str, ...]] = {}
    impressions, questionnaires = no_impressions(config), None
    parts = _impression_parts(config, span)
    impressions = _read_log(config, parts, [impressions], counts, letters)
    names["impressions"] = _names(parts)
    if config.tables.questionnaires is not None:
        parts = _parts(config, "questionnaires", span.path)
        nothing = [QUESTIONNAIRE_ROWS.empty_table()]
        questionnaires = _read_log(config, parts, nothing, counts, letters)
        names["questionnaires"] = _names(parts)
    features = {
        name: _features(config, name, span.path, shared, counts, letters)
        for name in ("users", "items")
    }

    shown_ms = numbers(impressions, "time_ms")
    answered_ms = shown_ms[:0]
    if questionnaires is not None:
        answered_ms = numbers(questionnaires, "answered_ms")
    low, high = _neighbourhood(span, shown_ms if len(shown_ms) else answered_ms, delay_ms)

    def inside(table: str, rows: pa.Table, outside: Bools) -> pa.Table:
        if not outside.any():
            return rows
        reasons = [OUTSIDE_SPAN] * int(outside.sum())
        counted = {"impressions": "impressions", "questionnaires": "answers"}[table]
        counts[counted, "rejected", OUTSIDE_SPAN] += len(reasons)
        letters.setdefault(table, []).append(
            row_letters(table, take(rows, outside), reasons, names)
        )
        return take(rows, ~outside)

    impressions = inside("impressions", impressions, (shown_ms < low) | (shown_ms > high))
    if questionnaires is not None:
        questionnaires = inside("questionnaires", questionnaires, answered_ms > high)
        answered_ms = numbers(questionnaires, "answered_ms")
    times = np.concatenate([numbers(impressions, "time_ms"), answered_ms])
    return SpanTables(
        impressions,
        questionnaires,
        features["users"],
        features["items"],
        names,
        _newest(span, times),
        counts,
        letters,
    )


def _newest(span: Span, times: np.ndarray) -> int | None:
    if not (times > 0).any():
        return None
    newest = int(times.max())
    dated = span.time_range_ms
    return newest if dated is None else min(newest, dated[1])


def _neighbourhood(span: Span, times: np.ndarray, delay_ms: float) -> tuple[float, float]:
    dated = span.time_range_ms
    if dated is not None:
        return dated[0] - delay_ms, dated[1] + delay_ms
    times = times[times > 0]
    if not len(times):
        return -np.inf, np.inf
    first, last = np.quantile(times, [0.05, 0.95])
    margin = max(delay_ms, last - first)
    return first - margin, last + margin


def _impression_parts(config: DatasetConfig, span: Span) -> tuple[LogPart, ...]:
    parts = _parts(config, "impressions", span.path)
    if parts:
        return parts
    tables = [getattr(config.tables, name) for name in ("questionnaires", "users", "items")]
    of_others = {
        path for table in tables if table for glob in table.path for path in span.path.glob(glob)
    }
    if all(path in of_others for path in data_files(span.path)):
        return ()
    return find_table(config, "impressions", span.path)  # says what is there instead


def _parts(config: DatasetConfig, name: str, folder: Path) -> tuple[LogPart, ...]:
    """The parts of a table in a folder; nothing where no file matches."""
    globs = getattr(config.tables, name).path
    if not any(any(folder.glob(glob)) for glob in globs):
        return ()
    return find_table(config, name, folder)


def _names(parts: tuple[LogPart, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.name for part in parts))


def _read_log(
    config: DatasetConfig,
    parts: tuple[LogPart, ...],
    tables: list[pa.Table],
    counts: Counts,
    letters: dict[str, list[pa.Table]],
) -> pa.Table:
    for part in parts:
        read = read_impressions if part.table == "impressions" else read_questionnaires
        for batch in read(config, part):
            counts.update(read_counts(part.table, batch))
            tables.append(pa.Table.from_batches([batch.rows]))
            if batch.rejected.num_rows:
                rejected = pa.Table.from_batches([batch.rejected])
                letters.setdefault(part.table, []).append(rejected)
    return pa.concat_tables(tables).combine_chunks()


def _features(
    config: DatasetConfig,
    name: str,
    own: Path,
    shared: Path,
    counts: Counts,
    letters: dict[str, list[pa.Table]],
) -> pa.Table | None:
    """The users or items table: the span's own, or else the shared one."""
    if getattr(config.tables, name) is None:
        return None
    parts = _parts(config, name, own) or find_table(config, name, shared)
    if not any(has_rows(part.path) for part in parts):
        raise LogError(parts[0].path, f"the {name} table has no rows", "write it again")
    state = [Path(part.path).stat() for part in parts]
    versions = tuple((status.st_size, status.st_mtime_ns) for status in state)
    table = _feature_table(config.to_json(), parts, versions)
    counts.update(read_counts(name, table))
    if table.rejected.num_rows:
        letters[name] = [table.rejected]
    return table.rows


@lru_cache(maxsize=2)
def _feature_table(
    dataset: str, parts: tuple[LogPart, ...], versions: tuple[tuple[int, int], ...]
) -> FeatureTable:
    """Shared tables are read once as long as their files stay the same (`versions`)."""
    return read_features(DatasetConfig.from_json(dataset), parts)


def with_waiting(
    questionnaires: pa.Table, waiting: pa.Table, names: tuple[str, ...]
) -> tuple[pa.Table, tuple[str, ...]]:
    """The questionnaires of a span and the answers that waited; and what `_file` counts through."""
    if not waiting.num_rows:
        return questionnaires, names
    text = one_chunk(waiting, "_name").dictionary_encode()
    files = text.indices.to_numpy() + len(names)
    rows = waiting.drop_columns(["_name"]).append_column("_file", pa.array(files, pa.int32()))
    rows = rows.select(questionnaires.column_names).cast(questionnaires.schema)
    together = pa.concat_tables([questionnaires, rows])
    return together, (*names, *text.dictionary.to_pylist())


def names_of_files(rows: pa.Table, names: tuple[str, ...]) -> pa.Array:
    """The name of the file of each canonical row."""
    return pa.array([names[index] for index in numbers(rows, "_file")], pa.string())
