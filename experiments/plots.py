"""The plots of the experiments, small PNG files drawn from their JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments.cells import scenario_and_density

# The budget at which bars compare.
_COST = "0.05"
_COLOURS = plt.get_cmap("tab20").colors


def plot(name: str, values: dict[str, Any], out: Path) -> list[Path]:
    """Draws the plots of an experiment's summary; returns their files."""
    if name not in _DRAW or not _has_data(values):
        return []
    return _DRAW[name](values, out)


def _has_data(values: dict[str, Any]) -> bool:
    return any(bool(value) for key, value in values.items() if key in ("datasets", "rows"))


def _frontier(values: dict[str, Any], out: Path) -> list[Path]:
    datasets = values["datasets"]
    figure, axes = panels(datasets, height=3.4)
    colours = colours_of(datasets)
    for axis, dataset in zip(axes, datasets, strict=True):
        for row in dataset["methods"]:
            curve = [point for point in row["curve"] if point["gain"]["mean"] is not None]
            x = [100 * point["budget"] for point in curve]
            y = [point["gain"]["mean"] for point in curve]
            low = [point["gain"]["low"] for point in curve]
            high = [point["gain"]["high"] for point in curve]
            colour = colours[row["method"]]
            bold = 2.2 if row["method"] == "EASQ" else 1.1
            axis.plot(x, y, color=colour, linewidth=bold)
            axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set_title(f"{dataset['name']} ({_seeds(dataset)} seeds)", fontsize=9)
        axis.set_xlabel("loss of engagement, %")
        axis.set_ylabel("gain in satisfaction")
        axis.grid(alpha=0.3)
    lines = [plt.Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(lines, list(colours), fontsize=8, ncols=6, loc="outside upper center")
    return [_saved(figure, out / "frontier.png")]


def colours_of(datasets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A colour for each method, the same in all panels, whichever rows they have."""
    methods = dict.fromkeys(row["method"] for of in datasets for row in of["methods"])
    return {method: _colour(number) for number, method in enumerate(methods)}


def _seeds(dataset: dict[str, Any]) -> str:
    """How many seeds the rows have, `2 to 4` where not all have as many."""
    ends = sorted({row["seeds"] for row in dataset["methods"]})
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


def _table1(values: dict[str, Any], out: Path) -> list[Path]:
    files = []
    for dataset in values["datasets"]:
        metrics = ["pair_accuracy", "ndcg@5", "true_top4", "behaviour_auc"]
        metrics = [m for m in metrics if _of(dataset["methods"][0], m) is not None]
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(3 * len(metrics), 3.6), constrained_layout=True, sharey=True
        )
        for axis, metric in zip(axes, metrics, strict=True):
            bars(axis, [(row["method"], _of(row, metric)) for row in dataset["methods"]])
            axis.set_title(metric, fontsize=9)
        figure.suptitle(dataset["name"], fontsize=10)
        files.append(_saved(figure, out / f"table1-{dataset['name']}.png"))
    return files


def _of(row: dict[str, Any], metric: str) -> dict[str, Any] | None:
    return row["satisfaction"].get(metric) or row["behaviour"].get(metric)


def _at_cost(name: str, values: dict[str, Any], out: Path) -> list[Path]:
    """One panel a data set: the gain of each row at 5 % of cost."""
    figure, axes = panels(values["datasets"], height=0.22 * _most_rows(values) + 1.2)
    for axis, dataset in zip(axes, values["datasets"], strict=True):
        rows = [(row["method"], row["at_cost"][_COST]["gain"]) for row in dataset["methods"]]
        bars(axis, rows)
        axis.set_title(dataset["name"], fontsize=9)
        axis.set_xlabel("gain in satisfaction at 5 % loss of engagement", fontsize=7)
    return [_saved(figure, out / f"{name}.png")]


def _sparsity(values: dict[str, Any], out: Path) -> list[Path]:
    """One panel a scenario: the gain at 5 % of cost against the density of answers."""
    found: dict[str, dict[str, list[tuple[float, dict[str, Any]]]]] = {}
    for dataset in values["datasets"]:
        scenario, density = scenario_and_density(dataset["name"])
        if not density:
            continue  # a real log
        for row in dataset["methods"]:
            by_method = found.setdefault(scenario, {}).setdefault(row["method"], [])
            by_method.append((float(density), row["at_cost"][_COST]["gain"]))
    colours = colours_of(values["datasets"])
    figure, axes = panels(list(found), height=3.4)
    for axis, (scenario, methods) in zip(axes, found.items(), strict=True):
        for method, points in methods.items():
            x = [density for density, _ in sorted(points, key=lambda point: point[0])]
            of = [gain for _, gain in sorted(points, key=lambda point: point[0])]
            colour = colours[method]
            axis.plot(x, [g["mean"] for g in of], color=colour, marker="o", label=method)
            low, high = [g["low"] for g in of], [g["high"] for g in of]
            axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set_xscale("log")
        axis.set_title(scenario, fontsize=9)
        axis.set_xlabel("answers a view")
        axis.set_ylabel("gain at 5 % loss of engagement")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    return [_saved(figure, out / "sparsity.png")]


def _router(values: dict[str, Any], out: Path) -> list[Path]:
    shown = ("router/share_active", "router/dead_experts", "router/all_dead_candidates")
    first = values["datasets"][0]
    figure, axes = panels(shown, height=2.6)
    for axis, metric in zip(axes, shown, strict=True):
        bars(axis, [(row["method"], row["training"].get(metric)) for row in first["methods"]])
        axis.set_title(metric, fontsize=9)
    figure.suptitle(first["name"], fontsize=10)
    return [_saved(figure, out / "router.png")]


def _validity(values: dict[str, Any], out: Path) -> list[Path]:
    figure, axes = panels(values["rows"], height=3.0)
    colours = {"satisfied": "tab:green", "uncertain": "tab:gray", "dissatisfied": "tab:red"}
    for axis, row in zip(axes, values["rows"], strict=True):
        behaviours = list(row["behaviours"])
        for shift, (answer, colour) in enumerate(colours.items()):
            for place, behaviour in enumerate(behaviours):
                found = row["behaviours"][behaviour][answer]
                if found is None:
                    continue
                lift, at = found["lift"], place + 0.25 * (shift - 1)
                axis.bar(at, 100 * lift["mean"], width=0.25, color=colour)
                ends = [100 * lift["low"], 100 * lift["high"]]
                axis.plot([at, at], ends, color="black", linewidth=1)
        axis.set_xticks(range(len(behaviours)), behaviours, rotation=30, fontsize=7)
        axis.set_title(row["name"], fontsize=9)
        axis.set_ylabel("lift over all shown videos, %")
        axis.grid(alpha=0.3, axis="y")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    axes[0].legend(handles, list(colours), fontsize=7)
    return [_saved(figure, out / "validity.png")]


def panels(entries: Sequence[Any], height: float) -> tuple[Any, list[Any]]:
    """A figure with a panel an entry, three in a row.

    Args:
        entries: what the panels are of.
        height: of a row, inches.

    Returns:
        The figure and one pair of axes an entry.
    """
    columns = min(len(entries), 3)
    rows = -(-len(entries) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.2 * columns, height * rows),
        squeeze=False,
        constrained_layout=True,
    )
    for axis in axes.flat[len(entries) :]:
        axis.set_visible(False)
    return figure, list(axes.flat[: len(entries)])


def _most_rows(values: dict[str, Any]) -> int:
    return max(len(dataset["methods"]) for dataset in values["datasets"])


def bars(axis: Any, entries: Sequence[tuple[str, dict[str, Any] | None]]) -> None:
    """Horizontal bars with intervals, the first on top."""
    for place, (_, interval) in enumerate(entries):
        if interval is None or interval["mean"] is None:
            continue
        mean, low, high = interval["mean"], interval["low"], interval["high"]
        axis.barh(place, mean, color=_colour(place), height=0.7)
        axis.plot([low, high], [place, place], color="black", linewidth=1)
    axis.set_yticks(range(len(entries)), [name for name, _ in entries], fontsize=7)
    axis.invert_yaxis()
    axis.grid(alpha=0.3, axis="x")


def _colour(number: int) -> Any:
    # tab20 holds pairs of a dark and a pale shade: first all the dark ones.
    return _COLOURS[(2 * number) % 20 + (number // 10) % 2]


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


_DRAW: dict[str, Callable[[dict[str, Any], Path], list[Path]]] = {
    "frontier": _frontier,
    "table1": _table1,
    "ablation": functools.partial(_at_cost, "ablation"),
    "sensitivity": functools.partial(_at_cost, "sensitivity"),
    "bias": functools.partial(_at_cost, "bias"),
    "sparsity": _sparsity,
    "router": _router,
    "validity": _validity,
}
