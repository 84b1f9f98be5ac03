"""One experiment from its runs to its JSON and its plots."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.catalogue import NAMES, experiment
from experiments.cells import scenario_and_density
from experiments.dispatch import tasks_of
from experiments.options import NotConcernedError, Options
from experiments.plots import plot
from experiments.runs import code_version
from experiments.tables import write_page
from experiments.workers import Failure, Place, make_runs
from pipeline.whole_files import whole_file


def conduct(place: Place, name: str, options: Options, *, workers: int) -> list[Failure]:
    """Makes what is missing of an experiment and writes what came out of it, and the page.

    Args:
        place: where; `name.json` and plots go there too.
        name: of the experiment.
        options: what to run.
        workers: how many processes.

    Returns:
        The trainings that failed; what depends on them is left out of the summary.
    """
    tasks = tasks_of(experiment(name).blocks(options))
    failures = make_runs(place, name, tasks, workers=workers)
    _write(place, name, options, experiment(name).summary(options, place))
    write_page(place.out)
    return failures


def concerned(names: Iterable[str], options: Options) -> list[str]:
    """Those of some experiments that are about a method asked for."""
    found = []
    for name in names:
        with contextlib.suppress(NotConcernedError):
            experiment(name).blocks(options)
            found.append(name)
    return found


def report(place: Place, options: Options) -> Path:
    """Writes all summaries anew from the runs that are there, and the page; nothing is run.

    An experiment of which no data set has runs enough to compare two rows keeps the summary it has;
    so does, within an experiment, a row of which there are no runs.

    Returns:
        The page.
    """
    for name in concerned(NAMES, options):
        if experiment(name).blocks(options):
            values = experiment(name).summary(options, place)
            if any(len(dataset["methods"]) > 1 for dataset in values["datasets"]):
                _write(place, name, options, values)
    return write_page(place.out)


def _write(place: Place, name: str, options: Options, summary: dict[str, Any]) -> None:
    path = place.out / f"{name}.json"
    values = {
        "experiment": name,
        "options": dataclasses.asdict(options),
        "code": code_version(),
        **summary,
    }
    if path.exists():
        values = with_kept_rows(values, json.loads(path.read_text(encoding="utf-8")))
    if "datasets" in values:
        values["datasets"] = sorted(values["datasets"], key=_place_on_page)
    write_summary(path, values)
    plot(name, values, place.out)


def with_kept_rows(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """A summary with the rows of an older one that it does not have itself.

    Runs are too many to be handed on with the tables they gave, so results grow from machine to
    machine: what was measured before stands beside what is new. A kept row says by `code` which
    version measured it; how it compares with `EASQ` is what was found then.

    Args:
        new: of the runs that were asked for.
        old: what was written before.
    """
    if "datasets" not in new or old["options"]["quick"] != new["options"]["quick"]:
        return new
    by_name = {dataset["name"]: dataset for dataset in new["datasets"]}
    datasets = []
    for dataset in old["datasets"]:
        found = by_name.pop(dataset["name"], {"name": dataset["name"], "methods": []})
        measured = {row["method"] for row in found["methods"]}
        kept = [
            _of_code(row, row.get("code", old["code"]), new["code"])
            for row in dataset["methods"]
            if row["method"] not in measured
        ]
        datasets.append({**found, "methods": [*found["methods"], *kept]})
    return {**new, "datasets": [*datasets, *by_name.values()]}


def _place_on_page(dataset: dict[str, Any]) -> tuple[bool, str, str]:
    """Where a data set stands: the worlds of one density side by side, real logs after them."""
    scenario, density = scenario_and_density(dataset["name"])
    return not density, density, scenario


def _of_code(row: dict[str, Any], measured_by: str, now: str) -> dict[str, Any]:
    """A row that says which code measured it where that is not the code of all the rest."""
    row = {name: value for name, value in row.items() if name != "code"}
    return row if measured_by == now else {**row, "code": measured_by}


def write_summary(path: Path, values: dict[str, Any]) -> None:
    """Writes a summary as compact JSON, in one step."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    with whole_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
