"""One experiment from its runs to its JSON and its plots."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.catalogue import NAMES, experiment
from experiments.dispatch import tasks_of
from experiments.options import Options
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


def report(place: Place, options: Options) -> Path:
    """Writes all summaries anew from the runs that are there, and the page; nothing is run.

    An experiment of which no data set has runs enough to compare two rows keeps the summary it has.

    Returns:
        The page.
    """
    for name in NAMES:
        if experiment(name).blocks(options):
            values = experiment(name).summary(options, place)
            if any(len(dataset["methods"]) > 1 for dataset in values["datasets"]):
                _write(place, name, options, values)
    return write_page(place.out)


def _write(place: Place, name: str, options: Options, summary: dict[str, Any]) -> None:
    values = {
        "experiment": name,
        "options": dataclasses.asdict(options),
        "code": code_version(),
        **summary,
    }
    write_summary(place.out / f"{name}.json", values)
    plot(name, values, place.out)


def write_summary(path: Path, values: dict[str, Any]) -> None:
    """Writes a summary as compact JSON, in one step."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    with whole_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
