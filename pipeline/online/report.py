"""The curves of all spans as one HTML file, and the same figures as data."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.online import series
from pipeline.online.state import OnlineFolder, OnlineState
from pipeline.report.figures import Plot, make_plot
from pipeline.report.html import template
from pipeline.report.text import METRIC_NAMES, RANKER_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1
_METRICS = ("pair_accuracy", "satisfied_auc", GUARDRAIL, "true_ndcg@5", "true_top4")
_COLOURS = {"model": "#3b82c4", "popularity": "#d07a1f", "random": "#8a8f98", "oracle": "#2f9e6e"}
_WIDE = 7.4
_NEWEST = 48

Records = Sequence[Mapping[str, Any]]


def build_online_report(folder: OnlineFolder, state: OnlineState) -> dict[str, Any]:
    """Everything that is known of the spans learnt so far: plain JSON data."""
    records = series.read(folder.series_file)
    freshness = [record["seconds"] for record in series.read(folder.freshness_file)]
    return {
        "format": FORMAT,
        "spans": records,
        "versions": [
            {
                "number": version.number,
                "span": version.span,
                "labels": [
                    name for name, number in state.labels.items() if number == version.number
                ],
            }
            for version in state.versions
        ],
        "rollbacks": series.read(folder.rollbacks_file),
        "freshness": _quantiles(freshness),
        "seconds": {
            step: _quantiles(
                [record["seconds"][step] for record in records if step in record["seconds"]]
            )
            for step in _steps(records)
        },
    }


def _steps(records: Records) -> list[str]:
    return list(dict.fromkeys(step for record in records for step in record["seconds"]))


def _quantiles(values: Sequence[float]) -> dict[str, float | int | None]:
    if not values:
        return {"n": 0, "p50": None, "p95": None}
    p95 = float(np.percentile(values, 95))
    return {"n": len(values), "p50": statistics.median(values), "p95": p95}


def render_online_html(report: Mapping[str, Any]) -> str:
    """Formats a report of `build_online_report` for people."""
    records = report["spans"]
    return template("online.html.j2").render(
        report=report,
        plots=_plots(records) if records else [],
        newest=list(reversed(records[-_NEWEST:])),
        alarmed=[record for record in records if record["alarms"]],
    )


def _plots(records: Records) -> list[Plot]:
    plots = [
        _curves(
            METRIC_NAMES[metric],
            records,
            {
                RANKER_NAMES[ranker]: _values(records, ranker, metric)
                for ranker in _COLOURS
                if ranker in records[0]["rankers"]
            },
            list(_COLOURS.values()),
            band=_band(records, metric),
        )
        for metric in _METRICS
        if metric in records[0]["rankers"]["model"]
    ]
    scale = {
        "ŷ": [_or_nan(record["score_std"]) for record in records],
        "ŝ": [_or_nan(record["satisfaction_std"]) for record in records],
    }
    cost = {"seconds": [record["seconds"]["all"] for record in records]}
    return [
        *plots,
        _curves("Spread of the scores within a slate", records, scale, ["#3b82c4", "#d07a1f"]),
        _curves("Seconds a span", records, cost, ["#3b82c4"]),
    ]


def _values(records: Records, ranker: str, metric: str) -> list[float]:
    return [_or_nan(record["rankers"][ranker][metric]["mean"]) for record in records]


def _band(records: Records, metric: str) -> tuple[list[float], list[float]]:
    entries = [record["rankers"]["model"][metric] for record in records]
    low, high = ([_or_nan(entry.get(end)) for entry in entries] for end in ("low", "high"))
    return low, high


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _curves(
    title: str,
    records: Records,
    curves: Mapping[str, Sequence[float]],
    colours: Sequence[str],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Plot:
    last = ", ".join(f"{label} {values[-1]:.3g}" for label, values in curves.items())
    alt = f"over {len(records)} spans; at the end: {last}"
    return make_plot(title, alt, _draw(records, curves, colours, band), height=2.2, width=_WIDE)


def _draw(
    records: Records,
    curves: Mapping[str, Sequence[float]],
    colours: Sequence[str],
    band: tuple[Sequence[float], Sequence[float]] | None,
) -> Callable[[Axes], None]:
    places = range(len(records))

    def draw(axes: Axes) -> None:
        for place, record in enumerate(records):
            if record["alarms"]:
                axes.axvline(place, color="#d0555c", lw=0.8, alpha=0.6)
        if band is not None:
            axes.fill_between(places, *band, color=colours[0], alpha=0.18, lw=0)
        for (label, values), colour in zip(curves.items(), colours, strict=False):
            axes.plot(places, values, color=colour, lw=1.4, marker="o", ms=2, label=label)
        step = max(len(records) // 6, 1)
        axes.set_xticks(list(places)[::step], [record["span"] for record in records][::step])
        if len(curves) > 1:
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            axes.legend(frameon=False, ncols=len(curves), borderaxespad=0, **above)

    return draw
