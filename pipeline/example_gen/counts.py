"""Counts that add up: every row read is used or rejected for a named reason.

While examples are made, counts are `collections.Counter`s of paths such as
`("impressions", "rejected", "duplicate_row")`, so that those of all shards can simply be added;
`counts_report` makes the nested mapping that is written to `counts.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.logs.canonical import Batch
from pipeline.logs.readers import FeatureTable

Counts = Counter[tuple[str, ...]]

Names = Mapping[str, tuple[str, ...]]

_COUNTED_AS = {"questionnaires": "answers"}
# What is reported even where it is 0.
_ALWAYS: Names = {
    "impressions": ("read", "used"),
    "answers": (
        "read",
        "joined",
        "late",
        "not_answered",
        "satisfied",
        "dissatisfied",
        "uncertain",
    ),
    "users": ("read", "used"),
    "items": ("read", "used"),
    "slates": ("read", "train", "eval", "answered"),
    "pairs": ("same_user", "in_request"),
    "unknown": ("users", "items"),  # slates and candidates whose row of that table is not there
}
# What the rows read of each kind became, beside rejected.
_BECAME: Names = {
    "impressions": ("used",),
    "answers": ("joined", "late", "not_answered"),
    "users": ("used",),
    "items": ("used",),
    "slates": ("train", "eval"),
}


def add_counts(parts: Iterable[Counts]) -> Counts:
    """The sum of all parts."""
    total: Counts = Counter()
    for part in parts:
        total.update(part)
    return total


def read_counts(table: str, batch: Batch | FeatureTable) -> Counts:
    """The counts of rows as they are read from a table of the log."""
    kind = _COUNTED_AS.get(table, table)
    reasons = batch.rejected.column("reason").to_pylist()
    counts: Counts = Counter((kind, "rejected", reason) for reason in reasons)
    counts[kind, "read"] = batch.rows.num_rows + len(reasons)
    if isinstance(batch, FeatureTable):
        counts[kind, "used"] = batch.rows.num_rows
    for feature, number in batch.missing.items():
        counts["missing", feature] += number
    return counts


def counts_report(counts: Counts, *, split_time_ms: int, features: Iterable[str]) -> dict[str, Any]:
    """The content of `counts.json`.

    Args:
        counts: of the whole log.
        split_time_ms: slates from here on are for evaluation.
        features: names of all features, reported with the number of values that were missing.

    Raises:
        RuntimeError: rows are neither used nor rejected, or counted twice.
    """
    report = {"split_time_ms": split_time_ms, **nested_counts(counts, _ALWAYS, _BECAME, features)}
    for kind, names in _BECAME.items():
        require_all_counted(report, kind, names)
    answers = report["answers"]
    options = {name: answers[name] for name in ("satisfied", "dissatisfied", "uncertain")}
    require_sum("answers", "joined", answers["joined"], options)
    return report


def nested_counts(
    counts: Counts, always: Names, rejecting: Iterable[str], features: Iterable[str]
) -> dict[str, Any]:
    """Counts as a nested mapping.

    Args:
        counts: of the whole log.
        always: by kind, what is there even where it is 0.
        rejecting: the kinds of which some may be `rejected`.
        features: names of all features, for the number of values that were missing.
    """
    report: dict[str, Any] = {"pair_groups": 0}
    for kind, names in always.items():
        report[kind] = dict.fromkeys(names, 0)
    for kind in rejecting:
        report[kind]["rejected"] = {}
    report["missing"] = dict.fromkeys(features, 0)
    for path, number in sorted(counts.items()):
        place = report
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = int(number)
    return report


def require_all_counted(report: Mapping[str, Any], kind: str, names: Iterable[str]) -> None:
    """Raises `RuntimeError` unless all rows read of a kind are one of `names` or rejected."""
    became = {name: report[kind][name] for name in names}
    became["rejected"] = sum(report[kind]["rejected"].values())
    require_sum(kind, "read", report[kind]["read"], became)


def require_sum(kind: str, whole: str, number: int, parts: dict[str, int]) -> None:
    """Raises `RuntimeError` unless the parts of a kind add up to the whole."""
    if sum(parts.values()) != number:
        listed = " + ".join(f"{name} {part}" for name, part in parts.items())
        raise RuntimeError(
            f"counts of {kind} do not add up: {whole} {number}, but {listed} = "
            f"{sum(parts.values())}. This is an error in ExampleGen."
        )
