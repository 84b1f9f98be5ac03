"""The report's plots as inline SVG: text in the page's colour, nothing loaded from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.report.text import (
    METRIC_NAMES,
    RANKER_NAMES,
    difference,
    headline_metrics,
    interval,
    percent,
)

# Readable on white and on near black.
_BLUE, _ORANGE, _GREY, _GREEN, _RED = "#3b82c4", "#d07a1f", "#8a8f98", "#2f9e6e", "#d0555c"
_COLOURS = {
    "model": _BLUE,
    "last_blessed": _GREEN,
    "popularity": _ORANGE,
    "random": _GREY,
    "oracle": _GREY,
}
# Stands for the page's text colour until the SVG is written.
_TEXT = "#010203"
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _TEXT,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Title of the panel → curves of the training history, and their names in the legend.
_TRAINING_PANELS: dict[str, dict[str, str]] = {
    "Behaviour loss": {"loss/main": "ŷ", "loss/behaviour": "behaviour head"},
    "Satisfaction loss": {"loss/satisfaction": "ŝ"},
    "DPO loss": {"loss/dpo": "DPO"},
    "DPO rewards": {
        "rewards/chosen": "chosen",
        "rewards/rejected": "rejected",
        "rewards/margins": "margin",
    },
    "DPO reward accuracy": {"rewards/accuracies": "accuracy"},
    "Open gates": {"router/share_active": "ŷ", "satisfaction_router/share_active": "ŝ"},
    "Dead experts": {"router/dead_experts": "ŷ", "satisfaction_router/dead_experts": "ŝ"},
    "Spread of the scores": {"score/std": "ŷ", "satisfaction/std": "ŝ"},
    "Steps with answers": {"answers/coverage": "share of steps"},
    "Batches with a pair of answers": {"pairs/share_of_batches": "share of batches"},
    "Pairs of answers a batch": {"pairs/per_batch": "pairs"},
}


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        title: Shown above it.
        svg: The `<svg>` element.
        alt: What it shows, in words.
    """

    title: str
    svg: str
    alt: str


def ranking_plots(report: dict[str, Any]) -> list[Plot]:
    """A plot for each headline metric: every ranker's mean and interval."""
    rankers = report["evaluation"]["overall"]["rankers"]
    plots = []
    for metric in headline_metrics(report):
        rows = [
            (ranker, rankers[ranker][metric])
            for ranker in RANKER_NAMES
            if ranker in rankers and rankers[ranker][metric]["mean"] is not None
        ]
        if not rows:
            continue
        alt = "; ".join(f"{RANKER_NAMES[ranker]} {interval(entry)}" for ranker, entry in rows)
        named = [(RANKER_NAMES[ranker], _COLOURS[ranker], entry) for ranker, entry in rows]
        plots.append(make_plot(METRIC_NAMES[metric], alt, _draw_intervals(named)))
    return plots


def _draw_intervals(rows: list[tuple[str, str, dict[str, Any]]]) -> Callable[[Axes], None]:
    """Draws a mean and its interval in a row of its name and colour."""

    def draw(axes: Axes) -> None:
        for place, (_, colour, entry) in enumerate(rows):
            if entry["low"] is not None:
                axes.plot([entry["low"], entry["high"]], [place, place], color=colour, lw=2)
            axes.plot([entry["mean"]], [place], "o", color=colour, ms=6)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(4))

    return draw


def lift_plots(report: dict[str, Any]) -> list[Plot]:
    """One plot: each behaviour's lift given either answer."""
    rows = {
        name: entry
        for name, entry in report["behaviour_lift"].items()
        if entry["satisfied"]["lift"] is not None or entry["dissatisfied"]["lift"] is not None
    }
    if not rows:
        return []
    alt = "; ".join(
        f"{name}: satisfied {percent(entry['satisfied']['lift'])}, dissatisfied "
        f"{percent(entry['dissatisfied']['lift'])}"
        for name, entry in rows.items()
    )

    def draw(axes: Axes) -> None:
        answers = (("satisfied", _GREEN, -0.17), ("dissatisfied", _RED, 0.17))
        for answer, colour, offset in answers:
            for place, entry in enumerate(rows.values()):
                lift, low, high = (entry[answer][key] for key in ("lift", "low", "high"))
                label = answer if place == 0 else None
                axes.barh(place + offset, 100 * (lift or 0), 0.3, color=colour, label=label)
                if low is not None:
                    ends = [100 * low, 100 * high]
                    axes.plot(ends, [place + offset] * 2, color=_TEXT, lw=1)
        axes.axvline(0, color=_TEXT, lw=0.8)
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
        axes.invert_yaxis()
        axes.set_xlabel("% more or less often than on all shown videos")
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        axes.legend(frameon=False, ncols=2, borderaxespad=0, **above)

    return [make_plot("Behaviour given the answer", alt, draw, height=1 + 0.4 * len(rows))]


def training_plots(report: dict[str, Any]) -> list[Plot]:
    """A plot for each group of training curves that the trainer recorded."""
    history = report["training"]["history"]
    plots = []
    for title, names in _TRAINING_PANELS.items():
        found = {
            label: history[name]
            for name, label in names.items()
            if any(value is not None for value in history.get(name, ()))
        }
        if not found:
            continue
        last = ", ".join(f"{label} {values[-1]:.4g}" for label, values in found.items())
        alt = f"over {report['training']['steps']} steps; at the end: {last}"
        plots.append(make_plot(title, alt, _draw_curves(history["step"], found)))
    return plots


def _draw_curves(steps: list[int], curves: dict[str, list[float]]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for colour, (label, values) in zip((_BLUE, _ORANGE, _GREEN), curves.items(), strict=False):
            axes.plot(steps, values, color=colour, lw=1.4, label=label)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if len(curves) > 1:
            axes.legend(frameon=False, labelspacing=0.2)

    return draw


def difference_plot(metrics: list[dict[str, Any]]) -> list[Plot]:
    """One plot: of each metric, the difference between two runs; none where nothing is known."""
    rows = [
        (METRIC_NAMES[one["metric"]], _BLUE, one["difference"])
        for one in metrics
        if one["difference"]["mean"] is not None
    ]
    if not rows:
        return []
    alt = "; ".join(f"{name} {difference(entry)}" for name, _, entry in rows)

    def draw(axes: Axes) -> None:
        _draw_intervals(rows)(axes)
        axes.axvline(0, color=_TEXT, lw=0.8)

    return [make_plot("Second run minus the first", alt, draw)]


def make_plot(
    title: str, alt: str, draw: Callable[[Axes], None], height: float = 1.9, width: float = 3.6
) -> Plot:
    """Draws one plot as SVG.

    Args:
        title: Shown above it.
        alt: What it shows, in words.
        draw: Draws on the axes.
        height, width: In inches.
    """
    # The salt makes ids inside the SVG unique on the page, and the same in every run.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    # Matplotlib numbers its groups alike in every figure; nothing refers to these ids.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Plot(title, svg.strip(), f"{title}: {alt}.")
