"""The report in a few lines of text, for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.report.text import METRIC_NAMES, RANKER_NAMES, count, headline_metrics, stacked

# Of the first table, what does not fit into 80 columns.
_LEFT_OUT = ("true_ndcg@5",)
_FUNNEL = ("impressions", "answers", "slates", "pairs")


@dataclass(frozen=True)
class Summary:
    """What a person wants to know first.

    Attributes:
        counts: Lines such as `("impressions", "read 10, used 9, rejected 1 (duplicate_row 1)")`.
        columns: Heads of the table of rankings; the first is the ranking.
        rows: Its rows, a cell a column: the mean, and in a second line its 95 % interval.
        verdict: One sentence.
        infra_check: One sentence.
        push: One sentence.
    """

    counts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    verdict: str
    infra_check: str
    push: str


def summarise(report: dict[str, Any]) -> Summary:
    """Formats the first things of a report; the rest is in `report.html`."""
    overall = report["evaluation"]["overall"]
    metrics = [name for name in headline_metrics(report) if name not in _LEFT_OUT]
    return Summary(
        counts=tuple(_counts(report)),
        columns=("ranking", *(METRIC_NAMES[name] for name in metrics)),
        rows=tuple(
            (
                RANKER_NAMES[ranker],
                *(stacked(overall["rankers"][ranker][name]) for name in metrics),
            )
            for ranker in RANKER_NAMES
            if ranker in overall["rankers"]
        ),
        verdict=report["verdict"]["sentence"],
        infra_check=infra_sentence(report["infra_check"]),
        push=push_sentence(report["push"]),
    )


def infra_sentence(result: dict[str, Any]) -> str:
    """What the infra check found."""
    if result["passed"]:
        latency = result["latency_ms"]["serving_default"]
        return (
            f"Infra check passed: {result['requests']} requests served by both signatures, equal "
            f"within {result['max_difference']:.1g}, median {latency['p50']:.1f} ms."
        )
    return f"Infra check failed: {result['failure'].splitlines()[0]}"


def push_sentence(push: dict[str, Any]) -> str:
    """What became of the model."""
    if push["pushed"]:
        return f"Pushed version {push['version']}."
    return "Not pushed: a model is pushed when it is blessed and passes the infra check."


def _counts(report: dict[str, Any]) -> list[tuple[str, str]]:
    counts = report["counts"]
    lines = []
    for name in _FUNNEL:
        part = counts[name]
        values = [
            f"{label.replace('_', ' ')} {count(value)}"
            for label, value in part.items()
            if not isinstance(value, dict)
        ]
        rejected = part.get("rejected", {})
        if rejected:
            reasons = ", ".join(
                f"{reason.replace('_', ' ')} {count(value)}" for reason, value in rejected.items()
            )
            values.append(f"rejected {count(sum(rejected.values()))} ({reasons})")
        lines.append((name, ", ".join(values)))
    lines.append(("pair groups", count(counts["pair_groups"])))
    coverage = report["training"]["pair_coverage"]
    share, pairs = coverage["share_of_batches"], coverage["pairs_per_batch"]
    if report["tuning"]:
        lines.append(("tuning", report["tuning"]["sentence"]))
    lines.append(("coverage", f"{share:.0%} of batches with a pair, {pairs:.1f} pairs a batch"))
    return lines
