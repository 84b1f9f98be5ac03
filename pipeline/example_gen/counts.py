"""Counts that add up: every row read is used or rejected for a named reason.

While examples are made, counts are `collections.Counter`s of paths such as
`("impressions", "rejected", "duplicate_row")`, so that those of all shards can simply be added;
`counts_report` makes the nested mapping that is written to `counts.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

Counts = Counter[tuple[str, ...]]

# What is reported even where it is 0.
_ALWAYS: dict[str, tuple[str, ...]] = {
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
_BECAME: dict[str, tuple[str, ...]] = {
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


def counts_report(counts: Counts, *, split_time_ms: int, features: Iterable[str]) -> dict[str, Any]:
    """The content of `counts.json`.

    Args:
        counts: of the whole log.
        split_time_ms: slates from here on are for evaluation.
        features: names of all features, reported with the number of values that were missing.

    Raises:
        RuntimeError: rows are neither used nor rejected, or counted twice.
    """
    report: dict[str, Any] = {"split_time_ms": split_time_ms, "pair_groups": 0}
    for kind, names in _ALWAYS.items():
        report[kind] = dict.fromkeys(names, 0)
    for kind in _BECAME:
        report[kind]["rejected"] = {}
    report["missing"] = dict.fromkeys(features, 0)
    for path, number in sorted(counts.items()):
        place = report
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = int(number)
    for kind, names in _BECAME.items():
        became = {name: report[kind][name] for name in names}
        became["rejected"] = sum(report[kind]["rejected"].values())
        _require_sum(kind, "read", report[kind]["read"], became)
    answers = report["answers"]
    options = {name: answers[name] for name in ("satisfied", "dissatisfied", "uncertain")}
    _require_sum("answers", "joined", answers["joined"], options)
    return report


def _require_sum(kind: str, whole: str, number: int, parts: dict[str, int]) -> None:
    if sum(parts.values()) != number:
        listed = " + ".join(f"{name} {part}" for name, part in parts.items())
        raise RuntimeError(
            f"counts of {kind} do not add up: {whole} {number}, but {listed} = "
            f"{sum(parts.values())}. This is an error in ExampleGen."
        )
