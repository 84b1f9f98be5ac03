"""The evaluation as plain data: rankers, differences, slices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.draws import COMPARED
from pipeline.evaluation.user_metrics import SPREAD, TIED

if TYPE_CHECKING:
    from pipeline.evaluation.results import Evaluation, Metrics, SliceKey

_COUNTS = ("n_users", "n_pairs")


def evaluation_part(evaluation: Evaluation) -> dict[str, Any]:
    """The metrics of all rankers, overall and by slice, and this model's minus theirs."""
    slices = [
        {
            "name": ", ".join(f"{column}: {value}" for column, value in key),
            **_by_ranker(metrics),
        }
        for key, metrics in sorted(evaluation.candidate.items(), key=_slice_order)
        if key
    ]
    overall = _by_ranker(evaluation.candidate[()])
    if evaluation.baseline is not None:
        last = _by_ranker(evaluation.baseline[()])["rankers"]["model"]
        overall["rankers"]["last_blessed"] = last
        overall["differences"] = {
            "last_blessed": {
                metric: evaluation.over_baseline(metric) for metric in COMPARED if metric in last
            },
            **overall["differences"],
        }
    return {"overall": overall, "slices": slices, "draws": evaluation.draws.to_json()}


def _slice_order(item: tuple[SliceKey, Metrics]) -> list[tuple[str, int, str]]:
    """Classes such as `new`, `1-4`, `20+` by their numbers, what has none first."""
    numbers = ((column, re.match(r"\d+", value), value) for column, value in item[0])
    return [(column, int(found[0]) if found else -1, value) for column, found, value in numbers]


def _by_ranker(metrics: Metrics) -> dict[str, Any]:
    """`<ranker>/<metric>/<end>` → rankers → metric → mean, low, high, n_users, n_pairs."""
    rankers: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    data: dict[str, int] = {}
    tied: dict[str, float] = {}
    spread = None
    for name, value in metrics.items():
        ranker, metric, *end = name.split("/")
        if ranker == "data":
            data[metric] = int(value)
        elif metric == TIED:
            tied[ranker] = value
        elif metric == SPREAD:
            spread = value
        else:
            over, _, baseline = ranker.partition("_over_")
            place = (
                differences.setdefault(baseline, {}) if baseline else rankers.setdefault(over, {})
            )
            key = end[0] if end else "mean"
            place.setdefault(metric, {})[key] = int(value) if key in _COUNTS else value
    return {
        "data": data,
        "rankers": rankers,
        "differences": differences,
        "tied": tied,
        "score_spread": spread,
    }
