"""Logs and dataset configs with everything wrong that can be, each to be had again by its seed.

    mutant = write_mutant(folder, seed)      # a log, a dataset config, and what was done to them

A mutant begins as a good log of a few rows, as Parquet or CSV, and suffers one to four mutations:
of values, rows, columns, bytes of files, or of the text of the config.
"""

from __future__ import annotations

import copy
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.pipeline.logs.tiny_logs import FORMATS, NOON, impression, question, tiny_config

Rows = list[dict[str, Any]]
HOUR = 3_600_000
TABLES = ("impressions", "questionnaires", "users", "items")


@dataclass(frozen=True)
class Mutant:
    """A mutated input: its folder of logs, its config file, and what was done."""

    logs: Path
    config: Path
    done: tuple[str, ...]


def good_log(rng: random.Random) -> dict[str, Rows]:
    """Rows of all tables with which nothing is wrong."""
    shown, asked = [], []
    for request in range(8):
        user = f"u{rng.randrange(3)}"
        at = NOON + request * HOUR
        for rank, item in enumerate(rng.sample(["i1", "i2", "i3", "i4", "i5"], 3)):
            ids = {"request": f"r{request}", "user": user, "item": item}
            flags = {"click": rng.randrange(2), "like": rng.randrange(2)}
            shown.append(impression(**ids, **flags, at=at, rank=rank, price=rng.random()))
            if rng.random() < 0.5:
                later = {"issued": at + 10_000, "answered": at + 15_000}
                answer = rng.choice(["yes", "no", "so so", "5", None])
                if answer is None:
                    later["answered"] = None
                asked.append(question(**ids, **later, answer=answer))
    users = [{"user": f"u{number}", "age": 20.0 + number} for number in range(3)]
    items = [{"item": f"i{number}", "topic": f"t{number % 2}"} for number in range(1, 6)]
    return {"impressions": shown, "questionnaires": asked, "users": users, "items": items}


ODD_VALUES: tuple[Any, ...] = (
    None, float("nan"), float("inf"), float("-inf"), -1, 0, -0.0, 1e308, -1e308, 5e-324,
    2**63 - 1, -(2**63), 2**64 - 1, 2**31, 3.5, True, False, "", " ", "  u1", "nan", "None",
    "1e999", "-0", "+7", "0x10", "true", "yes", "2023-11-14", "2023-11-14T12:00:00Z",
    "0000-00-00", "99999-01-01T00:00:00", "\u0000", "a\x00b", "ü\u0301\U0001f600", "\u202e",
    "\udcff\udcfe", "'; drop", "=1+1", "../../etc", "{}", "[]", "i1", "u1", "u999", "r0", "r999",
    "long" * 50_000, NOON, NOON // 1000, NOON * 1000, NOON * 10**6,
    datetime(2023, 11, 14, tzinfo=UTC), b"\xff\xfe", b"u1",
)  # fmt: skip

TYPES = (
    pa.string(), pa.large_string(), pa.binary(), pa.float16(), pa.float32(), pa.float64(),
    pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.bool_(), pa.decimal128(30, 3),
    pa.timestamp("ns"), pa.timestamp("s", "Asia/Shanghai"), pa.date32(), pa.time64("us"),
    pa.duration("ms"), pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string()), pa.null(),
    pa.binary(2), pa.struct([("a", pa.int64())]), pa.string_view(),
)  # fmt: skip


def _any_row(rng: random.Random, log: dict[str, Rows]) -> tuple[str, Rows, int]:
    table = rng.choice([name for name in TABLES if log[name]] or ["users"])
    rows = log[table]
    return table, rows, rng.randrange(max(len(rows), 1))


def change_values(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    if not rows or not rows[0]:
        return "nothing"
    column = rng.choice(list(rows[0]))
    value = rng.choice(ODD_VALUES)
    share = rng.choice([0.1, 0.5, 1.0])
    for row in rows:
        if rng.random() <= share and column in row:
            row[column] = value
    return f"{table}.{column} = {str(value)[:20]!r} in {share:.0%}"


def shift_times(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    by = rng.choice([-50 * 365 * 24, -24, -1, 1, 24, 24 * 30, 200 * 365 * 24]) * HOUR
    for row in rows:
        for column in ("at", "issued", "answered"):
            if isinstance(row.get(column), int) and rng.random() < 0.7:
                row[column] += by
    return f"times of {table} by {by // HOUR} h"


def repeat_rows(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, at = _any_row(rng, log)
    times = rng.choice([1, 2, 60])
    if rows:
        log[table] = rows + [dict(rows[at]) for _ in range(times)]
    return f"row {at} of {table} {times} more times"


def drop_rows(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    share = rng.choice([0.2, 0.8, 1.0])
    kept = [row for row in rows if rng.random() > share]
    log[table] = kept or [dict.fromkeys(rows[0])] if rows else rows
    return f"{share:.0%} of {table} dropped"


def shuffle_rows(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    rng.shuffle(rows)
    return f"{table} shuffled"


def exchange_ids(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    column = rng.choice(["request", "user", "item"])
    for row in rows:
        if column in row and rng.random() < 0.5:
            row[column] = rng.choice([*(other.get(column) for other in rows), "foreign"])
    return f"{column}s of {table} exchanged"


def change_columns(rng: random.Random, log: dict[str, Rows]) -> str:
    table, rows, _ = _any_row(rng, log)
    if not rows or not rows[0]:
        return "nothing"
    names = list(rows[0])
    how = rng.choice(["drop", "rename", "swap", "extra", "empty", "copy"])
    one, other = rng.choice(names), rng.choice(names)
    for row in rows:
        if how == "drop":
            row.pop(one, None)
        elif how == "rename":
            row[one + rng.choice(["_", " ", "s"])] = row.pop(one, None)
        elif how == "swap":
            row[one], row[other] = row.get(other), row.get(one)
        elif how == "extra":
            row["extra, column"] = 'with "quotes"'
        elif how == "copy":
            row[one] = row.get(other)
        else:
            row[one] = None
    if how == "rename":
        new = next(reversed(rows[0]))
        log[table] = [{**{n: row.get(n) for n in names if n != one}, new: None} for row in rows]
    return f"{table}: {how} {one} {other}"


OF_ROWS = (
    change_values, change_values, change_values, shift_times, repeat_rows, drop_rows, shuffle_rows,
    exchange_ids, change_columns, change_columns,
)  # fmt: skip


def write_file(rng: random.Random, path: Path, rows: Rows) -> str:
    """Writes rows of any content in the format that the path says, in an odd type now and then."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not path.name.endswith(".parquet"):
        path.write_bytes(_csv(rng, columns, rows, zipped=path.name.endswith(".gz")))
        return ""
    table, said = {}, ""
    for column in columns:
        values = [row.get(column) for row in rows]
        array = _array(values)
        if rng.random() < 0.02:
            type_ = rng.choice(TYPES)
            said = f"{path.name}.{column} as {type_}"
            array = _as_type(array, type_)
        table[column] = array
    arrow = pa.table(table) if table else pa.table({"nothing": pa.array([], pa.string())})
    if rng.random() < 0.01 and columns:
        arrow = arrow.append_column(columns[0], arrow.column(0))
        said += f" {columns[0]} twice"
    try:
        pq.write_table(arrow, path, row_group_size=rng.choice([1, 5, 1000]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # Parquet has no such type
        texts = {name: _as_type(array, pa.string()) for name, array in table.items()}
        pq.write_table(pa.table(texts), path)
    return said


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        texts = [None if value is None else _bytes(value) for value in values]
        return pa.array(texts, pa.binary())


def _as_type(array: pa.Array, type_: pa.DataType) -> pa.Array:
    try:
        return array.cast(type_, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError):
        return pa.nulls(len(array), type_)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode("utf-8", "surrogateescape")


def _csv(rng: random.Random, columns: list[str], rows: Rows, *, zipped: bool) -> bytes:
    def cell(value: Any) -> bytes:
        text = b"" if value is None else _bytes(value)
        return b'"' + text.replace(b'"', b'""') + b'"' if b'"' in text or b"," in text else text

    end = rng.choice([b"\n"] * 8 + [b"\r\n"])
    lines = [b",".join(cell(name) for name in columns)]
    lines += [b",".join(cell(row.get(name)) for name in columns) for row in rows]
    if rng.random() < 0.05:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"", b"a,b", b",,,,,,,,,,,,,,,,"]))
    data = end.join(lines) + rng.choice([end] * 5 + [b"", end + end])
    if rng.random() < 0.05:
        data = b"\xef\xbb\xbf" + data
    if rng.random() < 0.03:
        data = data.replace(b",", rng.choice([b";", b"\t", b"|"]))
    return gzip.compress(data, 1, mtime=0) if zipped else data


def damage_file(rng: random.Random, folder: Path) -> str:
    """Something wrong with the bytes of a file, or with the file itself."""
    path = rng.choice(sorted(folder.iterdir()))
    data = path.read_bytes()
    how = rng.choice(
        ["cut", "flip", "empty", "junk", "gone", "twice", "folder", "insert", "as other"]
    )
    place = rng.randrange(len(data) + 1)
    if how == "cut":
        path.write_bytes(data[:place])
    elif how == "flip" and data:
        place = min(place, len(data) - 1)
        flipped = data[place] ^ (1 << rng.randrange(8))
        path.write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "junk":
        path.write_bytes(rng.randbytes(rng.choice([1, 100, 5000])))
    elif how == "insert":
        junk = rng.choice([b"\x00", b'"', b"\n", b"\r", b"\xff", b",", b'""", '])
        path.write_bytes(data[:place] + junk + data[place:])
    elif how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "twice":
        name, _, ending = path.name.partition(".")
        path.with_name(f"{name}2.{ending}").write_bytes(data)
    else:
        ending = path.name.partition(".")[2]
        other = rng.choice([form for form in FORMATS if form != ending])
        path.rename(path.with_name(path.name.replace(ending, other)))
    return f"{path.name}: {how} at {place}"


ODD_SETTINGS: tuple[Any, ...] = (
    None, True, -1, 0, 1, 7, 1e9, float("nan"), float("inf"), 2**70, "", "x", "user", "at",
    "like", "impressions*.parquet", "../impressions.csv", "/etc/*.csv", "**/*.csv", "[",
    "seconds", "ms", "s", "iso8601", [], ["yes"], [1, None], [[]], {}, {"column": "at"},
    {"a": {"b": []}}, {None: 1}, {1: 2}, "yes", ["user", "user"], {"path": 3}, "numeric", "id",
    "candidate", 0.5, "middle", "user_day", {"gap_minutes": 30}, {"by": "user_day"},
    {"from_behaviours": {"satisfied": "like"}}, "ü" * 1000,
)  # fmt: skip


ODD_YAML = (
    b"\t", b": ", b"- ", b"&a ", b"*a ", b"!!python/object:os.system x", b"{", b"\xff", b"---\n",
    b"\x00", b"<<: *a\n", b"? ", b"%YAML 9\n", b"!!float x", b"2020-13-45 ", b"!!timestamp 1",
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    for key, child in children:
        found += _places(child, (*path, key))
    return found


def change_setting(rng: random.Random, config: dict[str, Any]) -> str:
    """Replaces, deletes, renames, moves or adds one setting, however deep."""
    path = rng.choice(_places(config))
    parent = config
    for key in path[:-1]:
        parent = parent[key]
    how = rng.choice(["replace"] * 5 + ["delete", "rename", "add", "wrap", "other"])
    if how == "replace":
        value = rng.choice(ODD_SETTINGS)
        parent[path[-1]] = copy.deepcopy(value)
        return f"config {path} = {str(value)[:30]}"
    if how == "delete" or isinstance(parent, list):
        del parent[path[-1]]
    elif how == "rename":
        parent[str(path[-1])[:-1] or "x"] = parent.pop(path[-1])
    elif how == "add":
        parent[rng.choice(["junk", "unit", "path", "column"])] = rng.choice(ODD_SETTINGS)
    elif how == "wrap":
        parent[path[-1]] = rng.choice([[parent[path[-1]]], {"value": parent[path[-1]]}])
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(list(config.values())))
    return f"config {path}: {how}"


def damage_text(rng: random.Random, text: str) -> tuple[bytes, str]:
    """Something wrong with the text of the config."""
    data = text.encode()
    how = rng.choice(["cut", "flip", "insert", "line twice", "line gone", "junk"])
    place = rng.randrange(len(data))
    lines = data.splitlines(keepends=True)
    line = rng.randrange(len(lines))
    if how == "cut":
        data = data[:place]
    elif how == "flip":
        data = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    elif how == "insert":
        data = data[:place] + rng.choice(ODD_YAML) + data[place:]
    elif how == "line twice":
        data = b"".join([*lines[: line + 1], *lines[line:]])
    elif how == "line gone":
        data = b"".join([*lines[:line], *lines[line + 1 :]])
    else:
        data = rng.randbytes(200)
    return data, f"text of the config: {how} at {place}"


def write_mutant(folder: Path, seed: int) -> Mutant:
    """The input of a seed, in a new folder."""
    rng = random.Random(seed)
    form = rng.choice(FORMATS)
    log, done = good_log(rng), [form]
    config = tiny_config(form).to_dict()
    of_config = rng.random() < 0.3
    for _ in range(rng.choice([1, 1, 2, 3])):
        if of_config:
            done.append(change_setting(rng, config))
        else:
            mutate: Callable[[random.Random, dict[str, Rows]], str] = rng.choice(OF_ROWS)
            done.append(mutate(rng, log))
    logs = folder / "span=1"
    logs.mkdir(parents=True)
    for table, rows in log.items():
        said = write_file(rng, logs / f"{table}.{form}", rows)
        done += [said] if said else []
    if not of_config and rng.random() < 0.25:
        done.append(damage_file(rng, logs))
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    data = text.encode()
    if of_config and rng.random() < 0.4:
        data, said = damage_text(rng, text)
        done.append(said)
    path = folder / "dataset.yaml"
    path.write_bytes(data)
    return Mutant(logs, path, tuple(done))
