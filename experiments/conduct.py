"""One experiment from its runs to its JSON and its plots."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.catalogue import experiment
from experiments.dispatch import tasks_of
from experiments.options import Options
from experiments.plots import plot
from experiments.runs import code_version
from experiments.tables import write_page
from experiments.whole_files import whole_file
from experiments.workers import Failure, Place, make_runs


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
    of = experiment(name)
    failures = make_runs(place, name, tasks_of(of.blocks(options)), workers=workers)
    values = {
        "experiment": name,
        "options": dataclasses.asdict(options),
        "code": code_version(),
        **of.summary(options, place),
    }
    write_summary(place.out / f"{name}.json", values)
    plot(name, values, place.out)
    write_page(place.out)
    return failures


def write_summary(path: Path, values: dict[str, Any]) -> None:
    """Writes a summary as compact JSON, in one step."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    with whole_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
