"""Logs of a few rows, in the canonical columns that the readers give or as Parquet files."""

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.readers import QUESTIONNAIRE_ROWS

HOUR = 3_600_000
START = 1_700_000_000_000

IMPRESSIONS = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("time_ms", pa.int64()),
        ("position", pa.int32()),
        ("exposed", pa.bool_()),
        ("played_s", pa.float64()),
        ("duration_s", pa.float64()),
        ("behaviour_like", pa.int8()),
        ("behaviour_follow", pa.int8()),
        ("feature_tab", pa.string()),
        ("feature_match", pa.float32()),
        ("_file", pa.int32()),
        ("_row", pa.int64()),
    ]
)
FILES = {"impressions": ("i0.parquet", "i1.parquet"), "questionnaires": ("q0.parquet",)}


def impression(request, user, item, hours, **changes):
    """An exposed row, played 8 of 10 seconds `hours` after START, with what `changes` says."""
    row = dict.fromkeys(IMPRESSIONS.names[:-1])
    row.update(
        request_id=request,
        user_id=user,
        item_id=item,
        time_ms=START + int(hours * HOUR),
        exposed=True,
        played_s=8.0,
        duration_s=10.0,
        behaviour_like=0,
        behaviour_follow=0,
        feature_tab="home",
        feature_match=0.5,
        _file=0,
    )
    assert changes.keys() <= set(IMPRESSIONS.names)
    return row | changes


def unexposed(request, user, item, hours, **changes):
    row = impression(request, user, item, hours, exposed=False, played_s=0.0)
    return row | changes


def answer(request, user, item, hours, code, **changes):
    """A question issued and answered `hours` after START."""
    time = START + int(hours * HOUR)
    row = {
        "request_id": request,
        "user_id": user,
        "item_id": item,
        "issued_ms": time,
        "answered_ms": time,
        "answer": code,
        "_file": 0,
    }
    return row | changes


def impressions_table(rows):
    return _table(rows, IMPRESSIONS)


def questionnaires_table(rows):
    return _table(rows, QUESTIONNAIRE_ROWS)


def users_table(ages):
    """`{user: age}`."""
    return pa.table(
        {
            "id": pa.array(list(ages), pa.string()),
            "feature_age": pa.array(list(ages.values()), pa.float32()),
        }
    )


def items_table(authors):
    """`{item: author}`."""
    return pa.table(
        {
            "id": pa.array(list(authors), pa.string()),
            "feature_author": pa.array(list(authors.values()), pa.string()),
        }
    )


def _table(rows, schema):
    numbered = [{"_row": number, **row} for number, row in enumerate(rows, start=1)]
    return pa.Table.from_pylist(numbered, schema)


def write_parquet(folder, impressions, answers, *, users=None, items=None, files=1):
    """Writes rows as `config()` reads them; the impressions in turn to each of `files` files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = impressions_table(impressions)
    seen = rows.select(["request_id", "user_id", "item_id", "time_ms", "position", "exposed"])
    for name in ("played", "duration"):
        milliseconds = [seconds * 1000 for seconds in rows[f"{name}_s"].to_pylist()]
        seen = seen.append_column(f"{name}_ms", pa.array(milliseconds, pa.float64()))
    for name in ("behaviour_like", "behaviour_follow", "feature_tab", "feature_match"):
        seen = seen.append_column(name.partition("_")[2], rows[name])
    for file in range(files):
        part = seen.take(pa.array(range(file, seen.num_rows, files), pa.int64()))
        pq.write_table(part, folder / f"impressions{file}.parquet", row_group_size=3)
    words = {-1: None, 0: "dissatisfied", 1: "uncertain", 2: "satisfied"}
    asked = questionnaires_table(answers).drop_columns(["_file", "_row"])
    texts = pa.array([words[code] for code in asked["answer"].to_pylist()], pa.string())
    asked = asked.set_column(asked.schema.get_field_index("answer"), "answer", texts)
    pq.write_table(asked, folder / "questionnaires.parquet")
    users, items = users_table(users or {"u": 20.0}), items_table(items or {"a": "x"})
    pq.write_table(users.rename_columns(["user_id", "age"]), folder / "users.parquet")
    pq.write_table(items.rename_columns(["item_id", "author"]), folder / "items.parquet")


QUESTIONNAIRE = {
    "columns": {
        "request_id": "request_id",
        "user_id": "user_id",
        "item_id": "item_id",
        "issued": {"column": "issued_ms"},
        "answered": {"column": "answered_ms"},
        "answer": "answer",
    },
    "answers": {
        "satisfied": ["satisfied"],
        "dissatisfied": ["dissatisfied"],
        "uncertain": ["uncertain"],
    },
}


def config(**changes):
    """A dataset with one feature of each table and level; `changes` replaces whole sections."""
    values = {
        "name": "small",
        "tables": {
            "impressions": {"path": "impressions*.parquet"},
            "questionnaires": {"path": "questionnaires*.parquet"},
            "users": {"path": "users*.parquet"},
            "items": {"path": "items*.parquet"},
        },
        "columns": {
            "request_id": "request_id",
            "user_id": "user_id",
            "item_id": "item_id",
            "time": {"column": "time_ms"},
            "position": "position",
            "exposed": "exposed",
            "played": {"column": "played_ms"},
            "duration": {"column": "duration_ms"},
        },
        "questionnaire": QUESTIONNAIRE,
        "behaviours": {"columns": ["like", "follow"], "positive": ["like", "follow"]},
        "pair_window": {"hours": 48, "max_slates": 3},
        "slate": {"max_candidates": 4, "min_candidates": 2},
        "features": [
            {"name": "user_id", "table": "impressions", "level": "user", "kind": "id"},
            {"name": "item_id", "table": "impressions", "level": "candidate", "kind": "id"},
            {"name": "age", "table": "users", "level": "user", "kind": "numeric", "default": -1},
            {"name": "author", "table": "items", "level": "candidate", "kind": "categorical"},
            {"name": "tab", "table": "impressions", "level": "context", "kind": "categorical"},
            {"name": "match", "table": "impressions", "level": "candidate", "kind": "numeric"},
        ],
    }
    return DatasetConfig.from_dict(values | changes)
