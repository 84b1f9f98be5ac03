"""ExampleGen's other peer: what one would write with polars, in a single process.

Joins and groups are polars', a loop writes each slate as a `tf.train.Example`. It knows the rules
that matter in a clean log with request ids, as the simulator writes it, and no others: no dead
letters, no counts, no limits of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import tensorflow as tf

from pipeline.logs.dataset_config import DatasetConfig

CODES = {"dissatisfied": 0, "uncertain": 1, "satisfied": 2}
MS_PER_HOUR = 3_600_000
PLACE = ["request_id", "item_id"]


def make_examples_with_polars(config: DatasetConfig, data_dir: str, output_dir: str) -> None:
    """The logs of the simulator to TFRecord files `train`, `eval` and `answered`.

    Args:
        config: the dataset `simulated`.
        data_dir: one Parquet file a table, as `simulator.write_logs` writes them.
        output_dir: where to write.
    """
    slates, answers, arrivals = joined(config, data_dir)
    Path(output_dir).mkdir(parents=True)
    for split, rows in (
        ("train", slates.filter("trains")),
        ("eval", slates.filter(~pl.col("trains"))),
        ("answered", groups(config, slates, answers, arrivals)),
    ):
        with tf.io.TFRecordWriter(f"{output_dir}/{split}-00000") as writer:
            for record in examples(config, rows):
                writer.write(record)


def joined(config: DatasetConfig, data_dir: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """All slates, the answers that count, and the moments at which a slate's answers arrived."""
    logs = {
        name: pl.read_parquet(f"{data_dir}/{name}.parquet")
        for name in ("impressions", "questionnaires", "users", "items")
    }
    rows = logs["impressions"].unique(PLACE, keep="first", maintain_order=True)
    seconds = (rows["time_ms"] // 1000).sort(descending=True)
    left = int(config.split.eval_fraction * len(rows) + 1e-9)
    split_time = (seconds[left] + 1) * 1000
    positive = pl.sum_horizontal(config.behaviours.positive)
    rows = rows.with_columns(
        time=pl.col("time_ms").min().over("request_id"),
        behaviour_level=pl.when(pl.col("exposed") == 1)
        .then(positive.clip(upper_bound=config.behaviours.max_level))
        .otherwise(-1),
    )
    answers = counting(config, rows, logs["questionnaires"], split_time)
    rows = rows.join(answers.select(*PLACE, "answer"), PLACE, "left").with_columns(
        pl.col("answer").fill_null(-1)
    )
    usable = pl.col("answer").is_in([0, 2]).any()
    rows = rows.filter(
        (pl.col("exposed") == 1).any().over("request_id")
        & ((pl.len() >= config.slate.min_candidates) | usable).over("request_id")
    )
    liked = (
        rows.filter(
            (pl.col("time") < split_time)
            & (pl.col("time_ms") < split_time)
            & (pl.col("behaviour_level") >= 1)
        )
        .group_by("item_id")
        .agg(popularity=pl.len().cast(pl.Float32))
    )
    rows = (
        rows.join(logs["items"], "item_id", "left")
        .join(liked, "item_id", "left")
        .with_columns(pl.col("popularity").fill_null(0.0))
        .sort("time", "request_id", "position", nulls_last=True)
    )
    slates = (
        rows.group_by("request_id", maintain_order=True)
        .agg(
            pl.col("user_id").first(),
            pl.col("time").first(),
            *(pl.col(f.column).first() for f in of(config, "impressions", "context")),
            *(pl.col(f.column) for f in of(config, "impressions", "candidate")),
            *(pl.col(f.column) for f in of(config, "items", "candidate")),
            *(pl.col(name) for name in config.behaviours.columns),
            *(pl.col(name) for name in ("exposed", "behaviour_level", "answer", "popularity")),
            pl.col("true_satisfaction"),
            pl.col("item_id"),
            played_seconds=pl.col("played_ms") * 1e-3,
        )
        .join(logs["users"], "user_id", "left")
        .with_columns(
            trains=pl.col("time") < split_time,
            pair_group=pl.lit(-1),
            group_time=pl.col("time"),
        )
        .with_columns(user_train_slates=pl.col("trains").sum().over("user_id"))
    )
    arrivals = (
        answers.filter(pl.col("answer") != CODES["uncertain"])
        .select("request_id", "answered_ms")
        .unique()
        .join(slates.filter("trains").select("request_id", "user_id", "time"), "request_id")
        .sort("user_id", "answered_ms", "time", pl.col("request_id").cast(pl.String))
    )
    return slates, answers, arrivals


def of(config: DatasetConfig, table: str, level: str) -> list[Any]:
    """The features of a table and a level, without the ids."""
    return [
        feature
        for feature in config.features_of(table)
        if feature.level == level and feature.name not in ("user_id", "item_id")
    ]


def counting(
    config: DatasetConfig, rows: pl.DataFrame, questions: pl.DataFrame, split_time: int
) -> pl.DataFrame:
    """The answers that count, one a place: request, item, when, what."""
    trigger, hours = config.trigger, config.pair_window.hours
    answered = questions.filter(pl.col("answer").is_not_null()).with_columns(
        answer=pl.col("answer").replace_strict(CODES, return_dtype=pl.Int64)
    )
    needed = ("time", "time_ms", "exposed", "played_ms", "duration_ms")
    shown = answered.join(rows.select(*PLACE, *needed), PLACE)
    played, duration = pl.col("played_ms"), pl.col("duration_ms")
    return (
        shown.filter(
            (pl.col("exposed") == 1)
            & (pl.col("answered_ms") >= pl.col("time_ms"))
            & (
                (played >= 1000 * trigger.min_played_seconds)
                | ((duration > 0) & (played >= trigger.min_played_fraction * duration))
            )
        )
        .sort("answered_ms", maintain_order=True)
        .unique(PLACE, keep="first", maintain_order=True)
        .filter(
            (pl.col("answered_ms") - pl.col("time_ms") <= hours * MS_PER_HOUR)
            & ~((pl.col("time") < split_time) & (pl.col("answered_ms") >= split_time))
        )
        .select(*PLACE, "answered_ms", "answer")
    )


def groups(
    config: DatasetConfig, slates: pl.DataFrame, answers: pl.DataFrame, arrivals: pl.DataFrame
) -> pl.DataFrame:
    """The pair groups: each arrival with the user's earlier ones in the window, itself last."""
    window = config.pair_window
    key = {name: pl.col(name).cast(pl.String) for name in ("user_id", "request_id")}
    anchors = arrivals.with_row_index("number").with_columns(
        pair_group=pl.struct(
            "answered_ms", key["user_id"].alias("u"), key["request_id"].alias("r")
        ).rank("ordinal")
        - 1
    )
    members = pl.concat(
        anchors.with_columns(
            back=pl.lit(back),
            moment=pl.col("answered_ms").shift(back).over("user_id"),
            member=pl.col("request_id").shift(back).over("user_id"),
        )
        for back in range(window.max_slates)
    ).filter(
        pl.col("member").is_not_null()
        & (pl.col("moment") >= pl.col("answered_ms") - window.hours * MS_PER_HOUR)
    )
    together = members.select(
        pl.col("pair_group").cast(pl.Int64),
        "back",
        "moment",
        group_time="answered_ms",
        request_id="member",
    ).join(slates.drop("pair_group", "group_time"), "request_id")
    # Of its answers a member shows those that arrived at its moment.
    moments = arrivals.select("request_id", moment="answered_ms").unique()
    places = slates.select("request_id", "item_id").explode("item_id")
    seen = (
        moments.join(places, "request_id", maintain_order="left_right")
        .join(
            answers.rename({"answered_ms": "moment", "answer": "given"}),
            ["request_id", "moment", "item_id"],
            "left",
            maintain_order="left",
        )
        .group_by("request_id", "moment", maintain_order=True)
        .agg(answer=pl.col("given").fill_null(-1))
    )
    return (
        together.drop("answer")
        .join(seen, ["request_id", "moment"])
        .sort("pair_group", "back", descending=[False, True])
    )


def examples(config: DatasetConfig, slates: pl.DataFrame) -> Iterator[bytes]:
    """The records, in the order of the slates."""
    texts = ["request_id", "user_id", "item_id"]
    numbers = []
    renamed = {}
    for feature in config.features:
        if feature.name not in ("user_id", "item_id"):
            (numbers if feature.numeric else texts).append(feature.name)
            renamed[feature.column] = feature.name
    renamed |= {name: f"behaviour_{name}" for name in config.behaviours.columns}
    slates = slates.rename(renamed).drop("trains", "back", "moment", strict=False)

    def cast(name: str, kind: Any) -> pl.Expr:
        listed = isinstance(slates.schema[name], pl.List)
        return pl.col(name).cast(pl.List(kind) if listed else kind)

    slates = slates.with_columns(
        *(cast(name, pl.String) for name in texts), *(cast(name, pl.Float64) for name in numbers)
    )
    for row in slates.iter_rows(named=True):
        example = tf.train.Example()
        feature = example.features.feature
        for name, value in row.items():
            several = value if isinstance(value, list) else [value]
            if isinstance(several[0], str):
                feature[name].bytes_list.value.extend(text.encode() for text in several)
            elif isinstance(several[0], float):
                feature[name].float_list.value.extend(several)
            else:
                feature[name].int64_list.value.extend(several)
        yield example.SerializeToString(deterministic=True)
