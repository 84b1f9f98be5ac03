"""What went in: counts, the way from impressions to pairs, the time that the log covers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.artifact_files import count_anomalies, numeric_statistics, read_json

SPLITS = ("train", "eval")


def data_part(examples: str, statistics: str) -> dict[str, Any]:
    """Counts of ExampleGen, the funnel of answers, and the times of each split.

    Args:
        examples: The Examples artifact's folder.
        statistics: The ExampleStatistics artifact's folder.

    Returns:
        `counts`; `funnel`, a list of steps with `name`, `count` and `share_of_previous`; and
        `times`, by split the first and last request in ms since 1970.
    """
    counts = read_json(examples, "counts.json")
    times = {}
    for split in SPLITS:
        time = numeric_statistics(statistics, split).get("time")
        known = time is not None and time.common_stats.num_non_missing
        times[split] = {"first_ms": int(time.min), "last_ms": int(time.max)} if known else None
    return {"counts": counts, "funnel": _funnel(counts), "times": times}


def anomalies_part(anomalies: str, statistics: str) -> dict[str, Any]:
    """By split, how many features were checked against the schema and what did not fit it."""
    return {
        split: {
            "features": len(numeric_statistics(statistics, split)),
            "anomalies": count_anomalies(anomalies, split),
        }
        for split in SPLITS
    }


def _funnel(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From impressions to pairs of answers, each step with its share of the one before."""
    answers = counts["answers"]
    steps = {
        "impressions used": counts["impressions"]["used"],
        "questionnaires issued": answers["read"],
        "answered": answers["read"] - answers["not_answered"],
        "joined to an impression": answers["joined"],
        "satisfied or dissatisfied": answers["satisfied"] + answers["dissatisfied"],
    }
    before = [None, *steps.values()]
    funnel = [
        {"name": name, "count": number, "share_of_previous": number / last if last else None}
        for (name, number), last in zip(steps.items(), before, strict=False)
    ]
    pairs = counts["pairs"]["same_user"]
    # Pairs are no part of the answers: their number grows with its square.
    last_step = {"name": "pairs of one user's answers", "count": pairs, "share_of_previous": None}
    return [*funnel, last_step]
