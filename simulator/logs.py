"""The log of a world under its logging policy: four tables, in memory or as Parquet files.

impressions (one row a candidate, in the logged order, requests by time):
    request_id, user_id, item_id, time_ms (of the request), position (0 first), exposed (0/1),
    played_ms, duration_ms, click, long_view, like, follow, comment, forward (0 where not
    exposed), hour, p_click, p_watch, p_like (upstream predictions), true_satisfaction (the known
    truth, in (-1, 1), for every candidate).
questionnaires (one row an issued one):
    request_id, user_id, item_id, issued_ms, answered_ms and answer (both null if not answered).
users: user_id, activity, age_group, top_topic (partly wrong), registered_days.
items: item_id, author_id, topic, style, duration_s, upload_day (from the start, may be negative).

Same config, same files, byte for byte (with the same numpy and pyarrow on the same kind of CPU),
however the rows are cut into chunks on the way.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulator.audience import ACTIVITIES, AGE_GROUPS
from simulator.catalogue import STYLES, TOPIC_NAMES
from simulator.config import DAY_MS, SimulatorConfig
from simulator.questionnaire import ANSWERS, NO_ANSWER
from simulator.world import Reactions, Requests, World

BEHAVIOURS = ["click", "long_view", "like", "follow", "comment", "forward"]
ROW_GROUP_ROWS = 1 << 18

IMPRESSIONS = pa.schema(
    [
        ("request_id", pa.int64()),
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("time_ms", pa.int64()),
        ("position", pa.int32()),
        ("exposed", pa.int8()),
        ("played_ms", pa.int64()),
        ("duration_ms", pa.int64()),
        *((name, pa.int8()) for name in BEHAVIOURS),
        ("hour", pa.int8()),
        ("p_click", pa.float32()),
        ("p_watch", pa.float32()),
        ("p_like", pa.float32()),
        ("true_satisfaction", pa.float32()),
    ]
)
QUESTIONNAIRES = pa.schema(
    [
        ("request_id", pa.int64()),
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("issued_ms", pa.int64()),
        ("answered_ms", pa.int64()),
        ("answer", pa.string()),
    ]
)


@dataclass(frozen=True)
class Logs:
    """The four tables of one world."""

    impressions: pa.Table
    questionnaires: pa.Table
    users: pa.Table
    items: pa.Table


def simulate(config: SimulatorConfig) -> Logs:
    """All tables in memory. Use `write_logs` above a few million rows."""
    world = World(config)
    users, items = users_table(world), items_table(world)
    steps = list(log_steps(world))
    return Logs(
        impressions=pa.concat_tables([impressions for impressions, _ in steps]),
        questionnaires=pa.concat_tables([questionnaires for _, questionnaires in steps]),
        users=users,
        items=items,
    )


def write_logs(
    config: SimulatorConfig,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Writes impressions, questionnaires, users and items `.parquet` in bounded memory.

    Args:
        config: the world.
        out_dir: made if it is not there; files of the same names are replaced, each only once
            all of it is written.
        progress: called now and then with the requests done and all of them.

    Returns:
        Rows of each table, and `requests`, `exposed` (shown videos) and `answered`.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    world = World(config)
    counts = {"requests": config.requests, "exposed": config.requests * config.exposed}
    for name, table in (("users", users_table(world)), ("items", items_table(world))):
        with ParquetFile(folder / f"{name}.parquet", table.schema) as file:
            file.add(table)
        counts[name] = table.num_rows
    counts.update(impressions=0, questionnaires=0, answered=0)
    with (
        ParquetFile(folder / "impressions.parquet", IMPRESSIONS) as impressions_file,
        ParquetFile(folder / "questionnaires.parquet", QUESTIONNAIRES) as questionnaires_file,
    ):
        for impressions, questionnaires in log_steps(world):
            impressions_file.add(impressions)
            questionnaires_file.add(questionnaires)
            counts["impressions"] += impressions.num_rows
            counts["questionnaires"] += questionnaires.num_rows
            counts["answered"] += questionnaires.num_rows - questionnaires["answer"].null_count
            if progress is not None:
                progress(config.requests - world.remaining, config.requests)
    return counts


def log_steps(world: World) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Runs the world to its end under the logging policy: (impressions, questionnaires) a step."""
    while world.remaining:
        requests = world.requests(world.config.requests_per_step)
        order = world.logging_order(requests)
        reactions = world.react(requests, order)
        yield (
            impressions_table(requests, order, reactions),
            questionnaires_table(requests, reactions),
        )


def impressions_table(
    requests: Requests, order: NDArray[np.integer], reactions: Reactions
) -> pa.Table:
    """The impressions of one batch; `order` ranks all its candidates: [requests, candidates]."""
    n, candidates = requests.item.shape
    exposed = reactions.shown.shape[1]
    # Flat indices: one `take` a column is faster than take_along_axis.
    flat = (order + np.arange(n)[:, None] * candidates).reshape(-1)

    def per_request(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.repeat(values, candidates)

    def ranked(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values.reshape(-1).take(flat)

    def where_shown(values: NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
        column: NDArray[np.generic] = np.zeros((n, candidates), dtype)
        column[:, :exposed] = values
        return column.reshape(-1)

    columns = {
        "request_id": per_request(requests.request_id),
        "user_id": per_request(requests.user.astype(np.int64)),
        "item_id": ranked(requests.item),
        "time_ms": per_request(requests.time_ms),
        "position": np.tile(np.arange(candidates, dtype=np.int32), n),
        "exposed": where_shown(np.ones((n, exposed), np.int8), np.int8),
        "played_ms": where_shown(reactions.played_ms, np.int64),
        "duration_ms": ranked(requests.duration_ms).astype(np.int64),
        **{name: where_shown(reactions.behaviours[name], np.int8) for name in BEHAVIOURS},
        "hour": per_request(requests.hour),
        "p_click": ranked(requests.p_click),
        "p_watch": ranked(requests.p_watch),
        "p_like": ranked(requests.p_like),
        "true_satisfaction": ranked(requests.prospects.satisfaction),
    }
    return pa.table([pa.array(columns[name]) for name in IMPRESSIONS.names], schema=IMPRESSIONS)


def questionnaires_table(requests: Requests, reactions: Reactions) -> pa.Table:
    """The questionnaires issued for one batch, answered or not."""
    issued = reactions.questionnaires
    item = requests.item[issued.row, reactions.shown[issued.row, issued.position]]
    silent = issued.answer == NO_ANSWER
    answer = pa.array(ANSWERS).take(pa.array(issued.answer.astype(np.int32), mask=silent))
    return pa.table(
        [
            requests.request_id[issued.row],
            requests.user[issued.row].astype(np.int64),
            item,
            issued.issued_ms,
            pa.array(issued.answered_ms, mask=silent),
            answer,
        ],
        schema=QUESTIONNAIRES,
    )


def users_table(world: World) -> pa.Table:
    """The profiles, by user id."""
    people = world.audience
    return pa.table(
        {
            "user_id": np.arange(world.config.users),
            "activity": _words(ACTIVITIES, people.activity_class()),
            "age_group": _words(AGE_GROUPS, people.age_group),
            "top_topic": _words(TOPIC_NAMES, people.favourite),
            "registered_days": people.registered_days,
        }
    )


def items_table(world: World) -> pa.Table:
    """The videos, by item id, those not yet uploaded included."""
    videos = world.catalogue
    return pa.table(
        {
            "item_id": np.arange(world.config.items),
            "author_id": videos.author.astype(np.int64),
            "topic": _words(TOPIC_NAMES, videos.topic),
            "style": _words(STYLES, videos.style),
            "duration_s": (videos.duration_ms / 1000).astype(np.float32),
            "upload_day": ((videos.upload_ms - world.config.start_ms) // DAY_MS).astype(np.int32),
        }
    )


def _words(names: list[str], index: NDArray[np.int32]) -> pa.Array:
    return pa.array(names).take(pa.array(index))


class ParquetFile:
    """A Parquet file whose row groups do not depend on how its rows arrive."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        # Ids and times rise or repeat: differences are smaller and faster than a dictionary.
        whole = [field.name for field in schema if pa.types.is_int64(field.type)]
        fractions = [field.name for field in schema if pa.types.is_floating(field.type)]
        self._writer = pq.ParquetWriter(
            self._partial,
            schema,
            compression="snappy",
            use_dictionary=[name for name in schema.names if name not in whole + fractions],
            column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
            # Readers that look at it tell a page that is damaged.
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._schema = schema

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._write_full_groups()

    def _write_full_groups(self) -> None:
        rows = pa.concat_tables(self._waiting)
        full = self._rows - self._rows % ROW_GROUP_ROWS
        if full:
            self._writer.write_table(rows.slice(0, full), row_group_size=ROW_GROUP_ROWS)
        self._waiting = [rows.slice(full)]
        self._rows -= full

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None and self._rows:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP_ROWS)
        self._writer.close()
        if error is None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink()
