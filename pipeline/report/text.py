"""How the report names things and writes numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

RANKER_NAMES = {
    "model": "this model",
    "last_blessed": "last blessed",
    "popularity": "popularity",
    "random": "random",
    "oracle": "oracle",
}
METRIC_NAMES = {
    "pair_accuracy": "pair accuracy",
    "true_top4": "true top 4",
    "true_ndcg@5": "true NDCG@5",
    "satisfied_auc": "satisfied AUC",
    "behaviour_ndcg@5": "behaviour NDCG@5",
    "behaviour_ndcg@10": "behaviour NDCG@10",
    "behaviour_auc": "behaviour AUC",
    **{f"hr@{k}": f"HR@{k}" for k in (1, 5, 10)},
    **{f"ndcg@{k}": f"NDCG@{k}" for k in (5, 10, 20)},
    "mrr": "MRR",
}
METRIC_MEANINGS = {
    "pair_accuracy": "share of a user's pairs of a satisfied and a dissatisfied answer in which "
    "the satisfied one is ranked higher",
    "true_top4": "mean true satisfaction of the first four candidates; known in a simulation only",
    "true_ndcg@5": "ranking quality by true satisfaction; known in a simulation only",
    "satisfied_auc": "share of pairs of a satisfied answer and another shown candidate of the same "
    "request in which the satisfied one is ranked higher",
    "behaviour_ndcg@10": "ranking quality by behaviour level (likes, follows, …); the guardrail",
}
_HEADLINE = ("pair_accuracy", "satisfied_auc", "true_top4", "true_ndcg@5", "behaviour_ndcg@10")
PAPER_METRICS = ("hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
UNKNOWN = "–"


def primary_metric(report: dict[str, Any]) -> str:
    """The metric that the dataset calls satisfaction."""
    return report["run"]["dataset_config"]["questionnaire"]["primary_metric"]


def headline_metrics(report: dict[str, Any]) -> tuple[str, ...]:
    """The metrics of the first table, the primary one first."""
    primary = primary_metric(report)
    found = report["evaluation"]["overall"]["rankers"]["model"]
    return (primary, *(name for name in _HEADLINE if name in found and name != primary))


def number(value: float | None, digits: int = 3) -> str:
    """0.7123 → `0.712`; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """0.02 → `+0.020`."""
    return UNKNOWN if value is None else f"{value:+.3f}"


def percent(value: float | None) -> str:
    """0.4612 → `+46 %`."""
    return UNKNOWN if value is None else f"{100 * value:+.0f} %"


def share(value: float | None) -> str:
    """0.0123 → `1.23 %`."""
    return UNKNOWN if value is None else f"{100 * value:.3g} %"


def count(value: int | None) -> str:
    """12345 → `12,345`."""
    return UNKNOWN if value is None else f"{value:,}"


def moment(milliseconds: int) -> str:
    """1704539679000 → `2024-01-06 11:14 UTC`."""
    time = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return f"{time:%Y-%m-%d %H:%M} UTC"


def interval(entry: dict[str, Any]) -> str:
    """`0.712 (0.690 to 0.734)`, the mean and its 95 % interval."""
    if entry["low"] is None:
        return number(entry["mean"])
    return f"{number(entry['mean'])} ({number(entry['low'])} to {number(entry['high'])})"


def stacked(entry: dict[str, Any]) -> str:
    """The mean and, below it, its 95 % interval."""
    if entry["low"] is None:
        return number(entry["mean"])
    return f"{number(entry['mean'])}\n{number(entry['low'])}–{number(entry['high'])}"


def difference(entry: dict[str, Any], between: str = " ") -> str:
    """`+0.012 (-0.010 to +0.034)`, a difference and its 95 % interval."""
    if entry["low"] is None:
        return signed(entry["mean"])
    return f"{signed(entry['mean'])}{between}({signed(entry['low'])} to {signed(entry['high'])})"
