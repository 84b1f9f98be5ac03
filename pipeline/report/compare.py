"""Two runs side by side, from their `report.json` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.evaluation.draws import Draws
from pipeline.plain_data import plain
from pipeline.report.build import FORMAT
from pipeline.report.figures import difference_plot
from pipeline.report.html import template
from pipeline.report.text import METRIC_NAMES, headline_metrics, primary_metric, signed

COMPARISON_FORMAT = 1


def read_report(run: Path) -> dict[str, Any]:
    """The `report.json` of a run's folder.

    Raises:
        ValueError: The folder holds none, or one that this version did not write.
    """
    file = run / "report.json"
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{run} holds no report.json; expected the work folder of a finished easq run"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is no JSON: {error}; run easq run again") from error
    if not isinstance(report, dict) or "run" not in report:
        raise ValueError(f"{file} is no report of easq run; expected the work folder of one")
    if report.get("format") != FORMAT:
        raise ValueError(
            f"{file} is of format {report.get('format')}, this version reads format {FORMAT}; run "
            "easq run again in that folder"
        )
    return report


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """What is different between two runs, as plain data. Differences: the second minus the first.

    Args:
        first, second: Folders of finished runs.

    Raises:
        ValueError: A folder is not one of a run, or the runs are on different datasets.
    """
    a, b = read_report(first), read_report(second)
    datasets = a["run"]["dataset"], b["run"]["dataset"]
    if datasets[0] != datasets[1]:
        raise ValueError(
            f"{first} is a run on the dataset '{datasets[0]}', {second} one on '{datasets[1]}': "
            "their figures say nothing about each other; compare two runs on the same dataset"
        )
    metrics = _metrics(a, b)
    same = a["evaluation"]["draws"]["data"] == b["evaluation"]["draws"]["data"]
    outcome, sentence = _told(metrics, primary_metric(b), same=same)
    return plain(
        {
            "format": COMPARISON_FORMAT,
            "runs": [_described(run, report) for run, report in ((first, a), (second, b))],
            "same_data": same,
            "outcome": outcome,
            "sentence": sentence,
            "settings": _changes(_configured(a), _configured(b)),
            "counts": _side_by_side(_flat(a["counts"]), _flat(b["counts"])),
            "funnel": [
                {"name": one["name"], "counts": [one["count"], other["count"]]}
                for one, other in zip(a["funnel"], b["funnel"], strict=True)
            ],
            "metrics": metrics,
            "slices": _slices(a, b),
            "seconds": _side_by_side(_seconds(a), _seconds(b)),
        }
    )


def _described(run: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "folder": str(run),
        "command": report["run"]["command"],
        "method": report["run"]["method"],
        "seed": report["run"]["seed"],
        "verdict": report["verdict"]["sentence"],
        "steps": report["training"]["steps"],
        "pair_coverage": report["training"]["pair_coverage"],
    }


def _metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    draws = [Draws.from_json(report["evaluation"]["draws"]) for report in (a, b)]
    values = [report["evaluation"]["overall"]["rankers"]["model"] for report in (a, b)]
    found = []
    for metric in headline_metrics(b):
        if metric not in values[0]:
            continue
        entries = [value[metric] for value in values]
        low, high = draws[1].interval_over(draws[0], metric)
        known = None not in (entries[0]["mean"], entries[1]["mean"])
        mean = entries[1]["mean"] - entries[0]["mean"] if known else None
        difference = {"mean": mean, "low": low, "high": high}
        found.append({"metric": metric, "values": entries, "difference": plain(difference)})
    return found


def _told(metrics: list[dict[str, Any]], primary: str, *, same: bool) -> tuple[str, str]:
    """Whether the second run is `better`, `worse`, or that is `open`; and why, in one sentence."""
    found = next(one for one in metrics if one["metric"] == primary)
    difference = found["difference"]
    low, high = difference["low"], difference["high"]
    what = f"{METRIC_NAMES[primary]} {signed(difference['mean'])} from the first run to the second"
    if not same:
        return "open", f"{what}; evaluated on different slates, so there is no paired interval."
    if low is None:
        return "open", f"{what}; too few users have the metric for an interval."
    users = found["values"][1]["n_users"]
    evidence = f"95 % {signed(low)} to {signed(high)}, paired over {users:,} users"
    outcome = "better" if low > 0 else "worse" if high < 0 else "open"
    told = "no difference is shown" if outcome == "open" else f"the second is {outcome}"
    return outcome, f"{what} ({evidence}): {told}."


def _configured(report: Mapping[str, Any]) -> dict[str, Any]:
    run = report["run"]
    parts = {"settings": run["settings"], "dataset": run["dataset_config"]}
    chosen = report["training"]["settings"]
    return _flat({**parts, "model": chosen, "versions": run["versions"]})


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted names; a list of mappings is known by their names."""
    if isinstance(values, list) and all(isinstance(one, Mapping) for one in values):
        values = {one["name"]: one for one in values}
    if not isinstance(values, Mapping):
        return {name: values}
    return {
        path: value
        for key, part in values.items()
        for path, value in _flat(part, f"{name}.{key}" if name else key).items()
    }


def _side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "values": [a.get(name), b.get(name)]} for name in dict.fromkeys((*a, *b))
    ]


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in _side_by_side(a, b) if one["values"][0] != one["values"][1]]


def _slices(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The slices that both have, with the metrics of the first table."""
    of_a = {one["name"]: one["rankers"]["model"] for one in a["evaluation"]["slices"]}
    return [
        {
            "name": one["name"],
            "metrics": {
                metric: [of_a[one["name"]][metric], one["rankers"]["model"][metric]]
                for metric in headline_metrics(b)
                if metric in of_a[one["name"]]
            },
        }
        for one in b["evaluation"]["slices"]
        if one["name"] in of_a
    ]


def _seconds(report: Mapping[str, Any]) -> dict[str, float]:
    return {step["name"]: step["seconds"] for step in report["steps"]}


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """Formats a comparison of `compare_runs` for people."""
    return template("comparison.html.j2").render(
        comparison=comparison,
        metric_names=METRIC_NAMES,
        plots=difference_plot(comparison["metrics"]),
    )
