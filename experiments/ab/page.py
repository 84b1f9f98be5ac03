"""The report as Markdown with its plots as SVG files: readable as text, and on any Git host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from experiments.ab.report import MISMATCH_ALARM, differs
from experiments.ab.split import ARMS

_GOOD, _BAD, _GREY = "#2f9e6e", "#d0555c", "#8a8f98"
_STYLE = {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
_STYLE["axes.spines.right"] = False
# What the plot over the days shows.
_DAILY = ("true_satisfaction", "engagement_per_request", "watch_time", "requests")


def write_page(report: Mapping[str, Any], folder: Path) -> Path:
    """Writes `report.md`, `lifts.svg` and `days.svg`; returns the path of the first."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "ab"}):
        for name, figure in (("lifts", _lifts_figure(report)), ("days", _days_figure(report))):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    page = folder / "report.md"
    page.write_text(page_text(report), encoding="utf-8")
    return page


def page_text(report: Mapping[str, Any]) -> str:
    """The page; it shows `lifts.svg` and `days.svg` beside it."""
    settings = report["settings"]
    lines = [
        f"# {settings['treatment']} against {settings['control']}",
        "",
        f"Closed loop in the simulator, scenario {settings['scenario']}, seed {settings['seed']}: "
        f"{settings['users']:,} people, {settings['requests_per_day']:,} requests a day, "
        f"{settings['days']} days counted after {settings['history_days']} of history and "
        f"{settings['warm_up_days']} of warm-up, {settings['spans_per_day']} online training(s) a "
        "day in each arm.",
        "",
        *table_lines(report["lifts"]),
        "",
        "Relative lifts with 95 % intervals (bootstrap over users; adjusted: by what the days "
        "before the split foretell of each user). Bold: the interval leaves 0 out. Where the "
        "control is not surely above 0 there is a difference and no lift. Last column: users of "
        "both arms together that would resolve an adjusted lift of 1 %.",
        "",
        *check_lines(report),
        "",
        "![Lifts](lifts.svg)",
        "",
        "![Lifts by day](days.svg)",
        "",
        "## What the arms learnt",
        "",
        *_learnt_lines(report),
    ]
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of lifts in Markdown."""
    lines = [
        "| | control | treatment | lift | adjusted lift | users for 1 % |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        arrow = " ↓" if row["better"] < 0 else ""
        needed = row["users_needed"]
        cells = [
            f"{row['title']}{arrow}",
            *(number(row[arm]) for arm in ARMS),
            lift_text(row, "lift"),
            lift_text(row, "adjusted"),
            f"{needed:,}" if needed is not None else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def check_lines(report: Mapping[str, Any]) -> list[str]:
    """Whether the split and the intervals are to be trusted, a bullet each."""
    lines = []
    for name, entry in report["split"].items():
        p_value = entry["mismatch_p_value"]
        verdict = (
            "as the split wants it"
            if p_value >= MISMATCH_ALARM
            else "**not as the split wants it: believe nothing else here**"
        )
        lines.append(
            f"- Users {name.replace('_', ' ')}: {entry['control']:,} and {entry['treatment']:,}, "
            f"{verdict} (p = {p_value:.3g})."
        )
    held = report["resplits"]
    if held is not None:
        shares = held["all"]
        lines.append(
            f"- {held['splits']} other splits of the same users, between whose arms there is no "
            f"difference: {shares['difference']:.1%} of the intervals hold 0, "
            f"{shares['adjusted_difference']:.1%} of the adjusted ones (95 % promised)."
        )
    return lines


def lift_text(row: Mapping[str, Any], kind: str) -> str:
    """`+1.2 % (+0.3 to +2.1)`, bold where 0 is outside; the difference where there is no lift."""
    estimate, scale, unit = row[kind], 100.0, " %"
    if estimate["value"] is None:
        kind = {"lift": "difference", "adjusted": "adjusted_difference"}[kind]
        estimate, scale, unit = row[kind], 1.0, ""
    if estimate["value"] is None:
        return "–"
    value, low, high = (estimate[key] * scale for key in ("value", "low", "high"))
    digits = 2 if unit else 4
    text = f"{value:+.{digits}f}{unit} ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"**{text}**" if differs(row, kind) else text


def number(value: float | None) -> str:
    """Four significant digits; a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _learnt_lines(report: Mapping[str, Any]) -> list[str]:
    lines = ["| arm | span | pushed version | seconds | verdict |", "|---|---|---|---|---|"]
    for arm, steps in report["learnt"].items():
        for place, step in enumerate(steps):
            version = step["version"] if step["version"] is not None else "none"
            verdict = step["verdict"].replace("|", "\\|")
            span = place or "history"
            lines.append(f"| {arm} | {span} | {version} | {step['seconds']:.0f} | {verdict} |")
    return lines if len(lines) > 2 else ["Neither arm learns: both serve a given model."]


def _lifts_figure(report: Mapping[str, Any]) -> Figure:
    rows = [row for row in report["lifts"] if row["adjusted"]["value"] is not None]
    figure = Figure(figsize=(6.4, 1 + 0.28 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        value, low, high = (100 * row["adjusted"][key] for key in ("value", "low", "high"))
        good = value * row["better"] > 0
        colour = (_GOOD if good else _BAD) if differs(row) else _GREY
        axes.plot([low, high], [place, place], color=colour, lw=2)
        axes.plot([value], [place], "o", color=colour, ms=5)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("adjusted lift, %, with 95 % interval")
    return figure


def _days_figure(report: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    all_axes = figure.subplots(2, 2, sharex=True).flat
    for axes, name in zip(all_axes, _DAILY, strict=True):
        days = [
            (day, row)
            for day in report["daily"]
            for row in day["lifts"]
            if row["metric"] == name and row["adjusted_difference"]["value"] is not None
        ]
        for day, row in days:
            value, low, high = (row["adjusted_difference"][key] for key in ("value", "low", "high"))
            colour = _GOOD if day["measured"] else _GREY
            axes.plot([day["day"]] * 2, [low, high], color=colour, lw=1.5)
            axes.plot([day["day"]], [value], "o", color=colour, ms=4)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_title(days[0][1]["title"] if days else name, fontsize=9)
    figure.supxlabel("day after the split (grey: warm-up)", fontsize=9)
    figure.supylabel("treatment - control", fontsize=9)
    return figure
