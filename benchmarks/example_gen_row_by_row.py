"""ExampleGen's peer: the same join in straightforward Beam, one element a row.

Rows are dicts, grouped by user; a Python function builds the user's slates. It says the rules of
`pipeline.example_gen` a second time, in the plainest way, so that it is also what the columnar
code is tested against.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam import pvalue

from pipeline.logs.canonical import (
    DISSATISFIED,
    NOT_ANSWERED,
    SATISFIED,
    UNCERTAIN,
    behaviour_column,
    feature_column,
)
from pipeline.logs.dataset_config import DatasetConfig

Row = dict[str, Any]
MS_PER_HOUR = 3_600_000


class UserSlates:
    """The slates of one user of a log with request ids.

    Attributes:
        slates: one dict a slate, in the order of time and request id.
        arrivals: (time, slate with the answers of that time only), in that order.
        liked: exposures in training with a positive behaviour, by item.
        counts: what became of every row.
    """

    def __init__(
        self,
        impressions: Iterable[Row],
        questions: Iterable[Row],
        config: DatasetConfig,
        split_time_ms: int,
    ) -> None:
        self._config, self._split = config, split_time_ms
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.liked: Counter[str] = Counter()
        requests = self._requests(impressions)
        answers = self._answers(questions, requests)
        self.slates: list[Row] = []
        self.arrivals: list[tuple[int, Row]] = []
        for (time, _), rows in sorted(requests.items()):
            self._add_slate(time, rows, answers)
        self.arrivals.sort(key=lambda arrival: arrival[0])
        trained = sum(slate["time"] < split_time_ms for slate in self.slates)
        for slate in self.slates + [slate for _, slate in self.arrivals]:
            slate["user_train_slates"] = trained

    def groups(self) -> Iterator[tuple[int, list[Row]]]:
        """(time, slates) of each pair group, the anchor last."""
        window = self._config.pair_window
        for index, (time, _) in enumerate(self.arrivals):
            group = self.arrivals[max(0, index - window.max_slates + 1) : index + 1]
            start = time - window.hours * MS_PER_HOUR
            yield time, [slate for answered, slate in group if answered >= start]

    def _requests(self, impressions: Iterable[Row]) -> dict[tuple[int, str], list[Row]]:
        """The candidates of each (time, request id), in the order of the slate."""
        seen = set()
        by_request = defaultdict(list)
        for row in sorted(impressions, key=lambda row: (row["_file"], row["_row"])):
            values = tuple(value for name, value in row.items() if name not in ("_file", "_row"))
            if values in seen:
                self._reject("impressions", "duplicate_row")
            else:
                seen.add(values)
                by_request[row["request_id"]].append(row)
        requests = {}
        for request, rows in by_request.items():
            kept: dict[str, Row] = {}
            for row in sorted(rows, key=lambda row: (not row["exposed"], row["time_ms"])):
                if row["item_id"] in kept:
                    self._reject("impressions", "repeated_item")
                else:
                    kept[row["item_id"]] = row
            time = min(row["time_ms"] for row in rows)
            order = [row for row in rows if kept[row["item_id"]] is row]
            last = float("inf")
            order.sort(key=lambda row: last if row["position"] is None else row["position"])
            requests[time, request] = order
        return requests

    def _answers(
        self, questions: Iterable[Row], requests: dict[tuple[int, str], list[Row]]
    ) -> dict[tuple[str, str], Row]:
        """The answer that counts of each (request id, item)."""
        shown = {
            (row["request_id"], row["item_id"]): (time, row)
            for (time, _), rows in requests.items()
            for row in rows
        }
        valid = []
        for question in questions:
            if question["answer"] == NOT_ANSWERED:
                self.counts["answers", "not_answered"] += 1
                continue
            time, row = shown.get((question["request_id"], question["item_id"]), (None, None))
            if row is None:
                self._reject("answers", "answer_without_impression")
            elif not row["exposed"]:
                self._reject("answers", "answer_to_unexposed")
            elif question["answered_ms"] < row["time_ms"]:
                self._reject("answers", "answer_before_impression")
            elif not self._triggered(row):
                self._reject("answers", "answer_before_trigger")
            else:
                valid.append((question, time, row))
        valid.sort(key=lambda v: (v[0]["answered_ms"], v[0]["_file"], v[0]["_row"]))
        taken: set[tuple[str, str]] = set()
        counting = {}
        for question, time, row in valid:
            place = (row["request_id"], row["item_id"])
            answered = question["answered_ms"]
            if place in taken:
                self._reject("answers", "duplicate_answer")
            elif (
                answered - row["time_ms"] > self._config.pair_window.hours * MS_PER_HOUR
                or time < self._split <= answered
            ):
                self.counts["answers", "late"] += 1
            else:
                counting[place] = question
            taken.add(place)
        return counting

    def _triggered(self, row: Row) -> bool:
        rule = self._config.trigger
        played, duration = row["played_s"], row["duration_s"]
        if played >= rule.min_played_seconds:
            return True
        return duration > 0 and played >= rule.min_played_fraction * duration

    def _add_slate(self, time: int, rows: list[Row], answers: dict[tuple[str, str], Row]) -> None:
        self.counts["slates", "read"] += 1
        given = [answers.get((row["request_id"], row["item_id"])) for row in rows]
        usable = any(q and q["answer"] in (SATISFIED, DISSATISFIED) for q in given)
        reason = ""
        if not any(row["exposed"] for row in rows):
            reason = "slate_not_exposed"
        elif len(rows) < self._config.slate.min_candidates and not usable:
            reason = "slate_too_small"
        if reason:
            self._reject("slates", reason)
            for question in given:
                self._reject("impressions", reason)
                if question:
                    self._reject("answers", "answer_to_dropped_candidate")
            return
        width = self._config.slate.max_candidates
        by_exposure = sorted(range(len(rows)), key=lambda index: not rows[index]["exposed"])
        for index in by_exposure[width:]:
            self._reject("impressions", "over_max_candidates")
            if given[index]:
                self._reject("answers", "answer_to_dropped_candidate")
        kept = sorted(by_exposure[:width])
        self._use(time, [rows[index] for index in kept], [given[index] for index in kept])

    def _use(self, time: int, rows: list[Row], given: list[Row | None]) -> None:
        trains = time < self._split
        self.counts["impressions", "used"] += len(rows)
        self.counts["slates", "train" if trains else "eval"] += 1
        slate = self._slate(time, rows)
        slate["answer"] = [question["answer"] if question else NOT_ANSWERED for question in given]
        self.slates.append(slate)
        names = {SATISFIED: "satisfied", DISSATISFIED: "dissatisfied", UNCERTAIN: "uncertain"}
        arrived = set()
        for question in filter(None, given):
            self.counts["answers", "joined"] += 1
            self.counts["answers", names[question["answer"]]] += 1
            if trains and question["answer"] != UNCERTAIN:
                arrived.add(question["answered_ms"])
        for moment in arrived:
            shown = [
                question["answer"] if question and question["answered_ms"] == moment else -1
                for question in given
            ]
            self.arrivals.append((moment, {**slate, "answer": shown}))
        if trains:
            for row, level in zip(rows, slate["behaviour_level"], strict=True):
                if level >= 1 and row["time_ms"] < self._split:
                    self.liked[row["item_id"]] += 1

    def _slate(self, time: int, rows: list[Row]) -> Row:
        behaviours = self._config.behaviours
        slate = {
            "request_id": rows[0]["request_id"],
            "user_id": rows[0]["user_id"],
            "time": time,
            "item_id": [row["item_id"] for row in rows],
            "exposed": [int(row["exposed"]) for row in rows],
            "played_seconds": [row["played_s"] for row in rows],
        }
        for name in behaviours.columns:
            slate[f"behaviour_{name}"] = [row[behaviour_column(name)] for row in rows]
        slate["behaviour_level"] = [
            min(sum(row[behaviour_column(n)] for n in behaviours.positive), behaviours.max_level)
            if row["exposed"]
            else -1
            for row in rows
        ]
        if self._config.columns.true_satisfaction is not None:
            slate["true_satisfaction"] = [row["true_satisfaction"] for row in rows]
        for feature in self._config.features_of("impressions"):
            if feature.name in ("user_id", "item_id"):
                continue
            values = [row[feature_column(feature.name)] for row in rows]
            slate[feature.name] = values if feature.level == "candidate" else values[0]
        return slate

    def _reject(self, kind: str, reason: str) -> None:
        self.counts[kind, "rejected", reason] += 1


def make_examples_row_by_row(
    pipeline: beam.Pipeline, config: DatasetConfig, data_dir: str, output_dir: str
) -> None:
    """The logs of the simulator to unordered TFRecord files `train`, `eval` and `answered`.

    Args:
        pipeline: where to add it.
        config: the dataset `simulated`.
        data_dir: one Parquet file a table, as `simulator.write_logs` writes them.
        output_dir: where to write.
    """

    def table(name: str, *, key: str = "user_id") -> beam.PCollection:
        rows = pipeline | f"Read {name}" >> beam.io.ReadFromParquet(f"{data_dir}/{name}.parquet")
        return rows | f"Key {name}" >> beam.Map(lambda row: (str(row[key]), row))

    impressions = table("impressions") | beam.MapTuple(
        lambda user, row: (user, _canonical_impression(row, config))
    )
    questions = table("questionnaires") | "Canonical" >> beam.MapTuple(
        lambda user, row: (user, _canonical_question(row, config))
    )
    seconds = (
        impressions
        | "Second" >> beam.MapTuple(lambda _, row: (row["time_ms"] // 1000, 1))
        | "Rows a second" >> beam.CombinePerKey(sum)
    )
    split = pvalue.AsSingleton(
        seconds
        | "All seconds" >> beam.combiners.ToList()
        | "Split" >> beam.Map(_split_time_ms, config.split.eval_fraction)
    )
    built = (
        {"impressions": impressions, "questions": questions}
        | "By user" >> beam.CoGroupByKey()
        | "Slates" >> beam.FlatMap(_slates_of_user, config, split).with_outputs("liked", "groups")
    )
    popularity = pvalue.AsDict(built["liked"] | "Popularity" >> beam.CombinePerKey(sum))
    users = pvalue.AsDict(table("users"))
    items = pvalue.AsDict(table("items", key="item_id"))
    numbered = (
        built["groups"]
        | "Together" >> beam.combiners.ToList()
        | "In time" >> beam.FlatMap(_numbered_groups)
    )
    for name, slates in (
        ("train", built[None] | "train" >> beam.Filter(lambda s, t: s["time"] < t, split)),
        ("eval", built[None] | "eval" >> beam.Filter(lambda s, t: s["time"] >= t, split)),
        ("answered", numbered),
    ):
        _ = (
            slates
            | f"Encode {name}" >> beam.Map(_example, config, users, items, popularity)
            | f"Write {name}" >> beam.io.WriteToTFRecord(f"{output_dir}/{name}")
        )


def _canonical_impression(row: Row, config: DatasetConfig) -> Row:
    ids = {name: str(row[name]) for name in ("request_id", "user_id", "item_id")}
    canonical = {
        **ids,
        "time_ms": row["time_ms"],
        "position": row["position"],
        "exposed": bool(row["exposed"]),
        "played_s": row["played_ms"] * 1e-3,
        "duration_s": row["duration_ms"] * 1e-3,
        "true_satisfaction": row["true_satisfaction"],
        "_file": 0,
        "_row": 0,
    }
    for name in config.behaviours.columns:
        canonical[behaviour_column(name)] = row[name]
    for feature in config.features_of("impressions"):
        value = row[feature.column]
        canonical[feature_column(feature.name)] = float(value) if feature.numeric else str(value)
    return canonical


def _canonical_question(row: Row, config: DatasetConfig) -> Row:
    asked = config.questionnaire.answers
    assert asked is not None
    codes = dict.fromkeys(asked.satisfied, SATISFIED)
    codes |= dict.fromkeys(asked.dissatisfied, DISSATISFIED)
    codes |= dict.fromkeys(asked.uncertain, UNCERTAIN)
    ids = {name: str(row[name]) for name in ("request_id", "user_id", "item_id")}
    answer = codes.get(row["answer"], NOT_ANSWERED)
    return {**ids, "answered_ms": row["answered_ms"], "answer": answer, "_file": 0, "_row": 0}


def _split_time_ms(seconds: list[tuple[int, int]], eval_fraction: float) -> int:
    left = int(eval_fraction * sum(rows for _, rows in seconds) + 1e-9)
    for second, rows in sorted(seconds, reverse=True):
        if rows > left:
            return (second + 1) * 1000
        left -= rows
    raise ValueError("no rows")


def _slates_of_user(
    user: tuple[str, dict[str, list[Row]]], config: DatasetConfig, split_time_ms: int
) -> Iterator[Any]:
    rows = user[1]
    built = UserSlates(rows["impressions"], rows["questions"], config, split_time_ms)
    yield from built.slates
    for item in built.liked.items():
        yield pvalue.TaggedOutput("liked", item)
    for group in built.groups():
        yield pvalue.TaggedOutput("groups", group)


def _numbered_groups(groups: list[tuple[int, list[Row]]]) -> Iterator[Row]:
    def place(group: tuple[int, list[Row]]) -> tuple[int, str, str]:
        time, slates = group
        return time, slates[-1]["user_id"], slates[-1]["request_id"]

    for number, (time, slates) in enumerate(sorted(groups, key=place)):
        for slate in slates:
            yield {**slate, "pair_group": number, "group_time": time}


def _example(
    slate: Row,
    config: DatasetConfig,
    users: dict[str, Row],
    items: dict[str, Row],
    popularity: dict[str, int],
) -> bytes:
    values = {"pair_group": -1, "group_time": slate["time"], **slate}
    values["popularity"] = [float(popularity.get(item, 0)) for item in slate["item_id"]]
    for feature in config.features_of("users"):
        if feature.name != "user_id":
            row = users.get(slate["user_id"], {})
            values[feature.name] = _feature(row.get(feature.column, feature.default), feature)
    for feature in config.features_of("items"):
        if feature.name != "item_id":
            values[feature.name] = [
                _feature(items.get(item, {}).get(feature.column, feature.default), feature)
                for item in slate["item_id"]
            ]
    example = tf.train.Example()
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        added = example.features.feature[name]
        if isinstance(several[0], str):
            added.bytes_list.value.extend(text.encode() for text in several)
        elif isinstance(several[0], float):
            added.float_list.value.extend(several)
        else:
            added.int64_list.value.extend(several)
    return example.SerializeToString(deterministic=True)


def _feature(value: Any, feature: Any) -> Any:
    return float(value) if feature.numeric else str(value)
