"""Tables as files have them → canonical Arrow batches, and dead letters for what is wrong.

    for part in find_tables(config, data_dir)["impressions"]:
        for batch in read_impressions(config, part):
            batch.rows, batch.rejected, batch.missing

Canonical columns (beside `_file` int32, the file's index, and `_row` int64, the row's number in
it, from 1):

impressions    request_id string or null, user_id, item_id string, time_ms int64, position int32
               or null (input order), exposed bool, played_s, duration_s float64,
               behaviour_<name> int8, true_satisfaction float32 (if configured),
               answer int8 (from_behaviours only), feature_<name> string or float32
questionnaires request_id string or null, user_id, item_id string, issued_ms int64,
               answered_ms int64 or null, answer int8
users, items   id string, feature_<name> string or float32

A missing feature (null, NaN, an empty text) is replaced by its default and counted. Every row
read is in `rows` or in `rejected`. Copies of a row are looked for once the rows of a user are
together: see `duplicates`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.logs.canonical import (
    DISSATISFIED,
    NOT_ANSWERED,
    SATISFIED,
    UNCERTAIN,
    Batch,
    CanonicalRows,
)
from pipeline.logs.columns import TimeColumn
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.dead_letters import dead_letters
from pipeline.logs.duplicates import later_copies
from pipeline.logs.errors import LogError
from pipeline.logs.files import (
    LogPart,
    RawBatch,
    find_parts,
    has_rows,
    read_part,
    read_schema,
    require_columns,
)
from pipeline.logs.user_ids import UserIdKey
from pipeline.logs.values import Kind, expected_type

Wanted = list[tuple[str, Kind]]

# The canonical questionnaires table.
QUESTIONNAIRE_ROWS = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("issued_ms", pa.int64()),
        ("answered_ms", pa.int64()),
        ("answer", pa.int8()),
        ("_file", pa.int32()),
        ("_row", pa.int64()),
    ]
)


def find_tables(
    config: DatasetConfig, data_dir: str | Path, *, rows_per_part: int = 1_000_000
) -> dict[str, tuple[LogPart, ...]]:
    """Finds and checks the files of every table in the config, before anything is read.

    Args:
        config: the dataset.
        data_dir: the directory that its paths are relative to.
        rows_per_part: size of the stretches that workers read (a CSV file is one stretch).

    Returns:
        By table (impressions, questionnaires, users, items; those in the config), its parts.

    Raises:
        LogError: no file matches, a file cannot be opened, a column is missing or of a wrong
            type, or the impressions, users or items table has no rows.
        ConfigError: the key of the user ids cannot be read, or is too short.
    """
    config.privacy.user_id_key()
    tables = {}
    for name in ("impressions", "questionnaires", "users", "items"):
        table = getattr(config.tables, name)
        if table is None:
            continue
        parts = find_table(config, name, data_dir, rows_per_part=rows_per_part)
        if name != "questionnaires" and not any(has_rows(part.path) for part in parts):
            files = f"{len(parts)} files" if len(parts) > 1 else parts[0].name
            raise LogError(
                str(data_dir),
                f"the {name} table has no rows ({files})",
                f"give a directory or a span with {name}",
            )
        tables[name] = parts
    return tables


def find_table(
    config: DatasetConfig, name: str, data_dir: str | Path, *, rows_per_part: int = 1_000_000
) -> tuple[LogPart, ...]:
    """The parts of one table of the config, its columns checked. Raises `LogError`."""
    table = getattr(config.tables, name)
    parts = find_parts(table, name, data_dir, rows_per_part=rows_per_part)
    for path in dict.fromkeys(part.path for part in parts):
        _check_columns(path, _wanted(config, name))
    return parts


def read_impressions(config: DatasetConfig, part: LogPart) -> Iterator[Batch]:
    """Reads a part of the impressions table.

    Raises:
        LogError: what no single row can be blamed for: a missing column, a wrong type or unit, a
            truncated file.
    """
    for raw in _raw_batches(part, _wanted(config, "impressions")):
        yield _impressions(config, part, raw)


def no_impressions(config: DatasetConfig) -> pa.Table:
    """The canonical impressions of a log without any."""
    columns = {column: pa.array([], pa.binary()) for column, _ in _wanted(config, "impressions")}
    raw = RawBatch(pa.RecordBatch.from_pydict(columns), np.zeros(0, np.int64))
    part = LogPart("impressions", "", "", 0)
    return pa.Table.from_batches([_impressions(config, part, raw).rows])


def _impressions(config: DatasetConfig, part: LogPart, raw: RawBatch) -> Batch:
    roles, stand_in = config.columns, config.questionnaire.from_behaviours
    hashed = _hashed(config, roles.user_id)
    rows = CanonicalRows(part, raw, [roles.user_id, roles.item_id], hashed)
    rows.id("request_id", roles.request_id)
    rows.id("user_id", roles.user_id)
    rows.id("item_id", roles.item_id)
    rows.time("time", roles.time, "columns.time")
    rows.position(roles.position)
    exposed = rows.exposed(roles.exposed)
    rows.played(roles.played, exposed)
    rows.duration(roles.duration, exposed)
    for name in config.behaviours.columns:
        rows.behaviour(name, exposed, config.behaviours.values == "count")
    if roles.true_satisfaction is not None:
        rows.true_satisfaction(roles.true_satisfaction)
    if stand_in is not None:
        rows.stand_in(stand_in, exposed)
    for feature in config.features_of("impressions"):
        rows.feature(feature)
    return rows.batch()


def read_questionnaires(config: DatasetConfig, part: LogPart) -> Iterator[Batch]:
    """Reads a part of the questionnaires table. Raises `LogError` like `read_impressions`."""
    roles, options = config.questionnaire.columns, config.questionnaire.answers
    assert roles is not None
    assert options is not None
    codes = dict.fromkeys(options.not_answered, NOT_ANSWERED)
    codes |= dict.fromkeys(options.dissatisfied, DISSATISFIED)
    codes |= dict.fromkeys(options.uncertain, UNCERTAIN)
    codes |= dict.fromkeys(options.satisfied, SATISFIED)
    hashed = _hashed(config, roles.user_id)
    for raw in _raw_batches(part, _wanted(config, "questionnaires")):
        rows = CanonicalRows(part, raw, [roles.user_id, roles.item_id], hashed)
        rows.id("request_id", roles.request_id)
        rows.id("user_id", roles.user_id)
        rows.id("item_id", roles.item_id)
        issued_ms = rows.time("issued", roles.issued, "questionnaire.columns.issued")
        rows.answer(roles.answer, roles.answered, codes, issued_ms)
        yield rows.batch()


@dataclass(frozen=True)
class FeatureTable:
    """A whole users or items table; `rows` and `rejected` together are all that were read.

    Attributes:
        rows: one row an id, in the order of the files.
        rejected: dead letters; an id's later rows are `duplicate_id`.
        missing: by feature, how often it was missing and replaced by its default.
    """

    rows: pa.Table
    rejected: pa.Table
    missing: dict[str, int]


def read_features(config: DatasetConfig, parts: Sequence[LogPart]) -> FeatureTable:
    """Reads all `parts` of the users or items table. Raises `LogError` like `read_impressions`."""
    table = parts[0].table
    key = config.users_key if table == "users" else config.items_key
    hashed = _hashed(config, key) if table == "users" else {}
    batches = []
    for part in parts:
        for raw in _raw_batches(part, _wanted(config, table)):
            rows = CanonicalRows(part, raw, [key], hashed)
            rows.id("id", key)
            for feature in config.features_of(table):
                rows.feature(feature)
            batches.append(rows.batch())
    read = pa.Table.from_batches([batch.rows for batch in batches])
    repeated = later_copies(read, ["id"])
    copies = read.filter(pa.array(repeated))
    names = {part.index: part.name for part in parts}
    letters = dead_letters(
        table,
        [names[index] for index in copies["_file"].to_pylist()],
        copies["_row"].to_numpy(),
        "duplicate_id",
        [{key: value} for value in copies["id"].to_pylist()],
    )
    missing: dict[str, int] = {}
    for batch in batches:
        for name, count in batch.missing.items():
            missing[name] = missing.get(name, 0) + count
    rejected = pa.Table.from_batches([*(batch.rejected for batch in batches), letters])
    return FeatureTable(read.filter(pa.array(~repeated)), rejected, missing)


def _hashed(config: DatasetConfig, column: str) -> dict[str, UserIdKey]:
    key = config.privacy.user_id_key()
    return {} if key is None else {column: key}


def _wanted(config: DatasetConfig, table: str) -> Wanted:
    """The columns that are read from a table, and what each has to hold."""
    if table == "questionnaires":
        asked = config.questionnaire.columns
        assert asked is not None
        ids = [asked.request_id, asked.user_id, asked.item_id]
        wanted: Wanted = [(column, "id") for column in ids if column is not None]
        wanted += [_time(asked.issued), _time(asked.answered), (asked.answer, "text")]
        return wanted
    if table == "impressions":
        wanted = _wanted_of_impressions(config)
    else:
        wanted = [(config.users_key if table == "users" else config.items_key, "id")]
    for feature in config.features_of(table):
        wanted.append((feature.column, "number" if feature.numeric else "text"))
    return wanted


def _wanted_of_impressions(config: DatasetConfig) -> Wanted:
    roles, stand_in = config.columns, config.questionnaire.from_behaviours
    ids = [roles.request_id, roles.user_id, roles.item_id]
    wanted: Wanted = [(column, "id") for column in ids if column is not None]
    wanted += [_time(roles.time), (roles.played.column, "number")]
    wanted += [(roles.duration.column, "number")]
    if roles.position is not None:
        wanted.append((roles.position, "whole"))
    if roles.true_satisfaction is not None:
        wanted.append((roles.true_satisfaction, "number"))
    flags = [roles.exposed, *config.behaviours.columns]
    if stand_in is not None:
        flags += [stand_in.satisfied, stand_in.dissatisfied, stand_in.only_if]
    return wanted + [(column, "flag") for column in flags if column is not None]


def _time(of: TimeColumn) -> tuple[str, Kind]:
    return of.column, "iso8601" if of.unit == "iso8601" else "time"


def _raw_batches(part: LogPart, wanted: Wanted) -> Iterator[RawBatch]:
    _check_columns(part.path, wanted)
    return read_part(part, list(dict.fromkeys(column for column, _ in wanted)))


def _check_columns(path: str, wanted: Wanted) -> None:
    schema = read_schema(path)
    require_columns(path, [column for column, _ in wanted], schema)
    if not path.endswith(".parquet"):
        return  # text, looked at value by value
    for column, kind in wanted:
        found = schema.field(column).type
        expected = expected_type(kind, found)
        if expected is not None:
            raise LogError(
                path,
                f"is of type {found}, but {expected} is needed",
                "write it as such, or name another column in the dataset config",
                column=column,
            )
