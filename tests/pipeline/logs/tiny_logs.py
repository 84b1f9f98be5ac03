"""A small dataset in plain Python rows, written as Parquet or CSV and read back."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.files import find_parts
from pipeline.logs.readers import read_features, read_impressions, read_questionnaires

NOON = 1_700_000_000_000  # 14 November 2023, in milliseconds
FORMATS = ("parquet", "csv", "csv.gz")


def tiny_config(form: str = "parquet", **changes: Any) -> DatasetConfig:
    """A dataset with every optional column; `changes` replace whole top-level keys."""
    tables = ("impressions", "questionnaires", "users", "items")
    plain = {
        "name": "tiny",
        "tables": {table: {"path": f"{table}*.{form}"} for table in tables},
        "columns": {
            "request_id": "request",
            "user_id": "user",
            "item_id": "item",
            "time": {"column": "at"},
            "position": "rank",
            "exposed": "shown",
            "played": {"column": "played"},
            "duration": {"column": "length"},
            "true_satisfaction": "truth",
        },
        "questionnaire": {
            "columns": {
                "request_id": "request",
                "user_id": "user",
                "item_id": "item",
                "issued": {"column": "issued"},
                "answered": {"column": "answered"},
                "answer": "answer",
            },
            "answers": {
                "satisfied": ["yes", 5],
                "dissatisfied": "no",
                "uncertain": "so so",
                "not_answered": "closed",
            },
        },
        "behaviours": {"columns": ["click", "like"], "positive": "like"},
        "features": [
            {"name": "age", "table": "users", "level": "user", "kind": "numeric", "default": 30.0},
            {"name": "topic", "table": "items", "level": "candidate", "kind": "categorical"},
            {"name": "price", "table": "impressions", "level": "candidate", "kind": "numeric"},
            {
                "name": "device",
                "table": "impressions",
                "level": "context",
                "kind": "categorical",
                "default": "none",
            },
        ],
    }
    return DatasetConfig.from_dict({**plain, **changes})


def impression(**changes: Any) -> dict[str, Any]:
    """One good row of the impressions table, with changes."""
    row = {
        "request": "r1",
        "user": "u1",
        "item": "i1",
        "at": NOON,
        "rank": 0,
        "shown": True,
        "played": 8_000,
        "length": 20_000,
        "truth": 0.25,
        "click": 1,
        "like": 0,
        "price": 1.5,
        "device": "phone",
    }
    return {**row, **changes}


def question(**changes: Any) -> dict[str, Any]:
    """One good row of the questionnaires table, with changes."""
    row = {
        "request": "r1",
        "user": "u1",
        "item": "i1",
        "issued": NOON + 10_000,
        "answered": NOON + 15_000,
        "answer": "yes",
    }
    return {**row, **changes}


def write_table(
    path: Path, rows: list[dict[str, Any]], types: dict[str, pa.DataType] | None = None
) -> Path:
    """Writes rows in the format that the path's ending says; None is an empty cell."""
    if path.name.endswith(".parquet"):
        table = pa.Table.from_pylist(rows)
        for name, type_ in (types or {}).items():
            column = pa.array([row[name] for row in rows], type_)
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table, path)
        return path
    lines = [",".join(rows[0])]
    lines += [",".join(_cell(value) for value in row.values()) for row in rows]
    data = b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
    return path


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    quoted = '"' in text or "," in text
    return '"' + text.replace('"', '""') + '"' if quoted else text


def read_all(
    config: DatasetConfig, table: str, data_dir: Path, **settings: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """Good rows, dead letters (their values decoded) and missing features of a table alone."""
    parts = find_parts(getattr(config.tables, table), table, data_dir, **settings)
    if table in ("users", "items"):
        whole = read_features(config, parts)
        return whole.rows.to_pylist(), _letters(whole.rejected), whole.missing
    read = read_impressions if table == "impressions" else read_questionnaires
    batches = [batch for part in parts for batch in read(config, part)]
    missing: dict[str, int] = {}
    for batch in batches:
        for name, count in batch.missing.items():
            missing[name] = missing.get(name, 0) + count
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    return rows, [row for batch in batches for row in _letters(batch.rejected)], missing


def _letters(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    return [{**row, "values": json.loads(row["values"])} for row in batch.to_pylist()]
