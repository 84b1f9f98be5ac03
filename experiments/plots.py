"""The plots of the experiments, small PNG files drawn from their JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

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
    columns = min(len(datasets), 3)
    rows = -(-len(datasets) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.4 * rows), squeeze=False, constrained_layout=True
    )
    for axis, dataset in zip(axes.flat, datasets, strict=False):
        for number, row in enumerate(dataset["methods"]):
            curve = [point for point in row["curve"] if point["gain"]["mean"] is not None]
            x = [100 * point["budget"] for point in curve]
            y = [point["gain"]["mean"] for point in curve]
            low = [point["gain"]["low"] for point in curve]
            high = [point["gain"]["high"] for point in curve]
            colour = _colour(number)
            bold = 2.2 if row["method"] == "EASQ" else 1.1
            axis.plot(x, y, color=colour, linewidth=bold, label=row["method"])
            axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set_title(f"{dataset['name']} ({dataset['methods'][0]['seeds']} seeds)", fontsize=9)
        axis.set_xlabel("loss of engagement, %")
        axis.set_ylabel("gain in satisfaction")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(datasets) :]:
        axis.set_visible(False)
    axes.flat[0].legend(fontsize=6, ncols=2)
    return [_saved(figure, out / "frontier.png")]


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
}
