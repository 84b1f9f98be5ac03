"""`easq experiment`: the paper's tables and figures, and ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import JobError

if TYPE_CHECKING:
    from experiments.options import Options


@click.command(
    "experiment",
    epilog="""\b
Examples:
  easq experiment all --quick --out quick
  easq experiment frontier --out results
  easq experiment table1 --out results --scenario strong --density 0.002 --seeds 0-3""",
)
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of results; a run that is there already is not made again.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    help="mild, strong; both by default. none: the real log alone.",
)
@click.option(
    "--density",
    "densities",
    type=float,
    multiple=True,
    help="Answers a view in training; 0.01, 0.002 and 0.0005 by default.",
)
@click.option("--seeds", default=None, help="For example 0-7 or 0,2,5. [default: 0-7]")
@click.option("--method", "methods", multiple=True, help="Only these methods.")
@click.option(
    "--kuairand-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of KuaiRand-Pure's CSV files: adds that data set.",
)
@click.option("--quick", is_flag=True, help="Small worlds, two seeds: to see that all works.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Trainings at a time, a process each.",
)
def command(
    name: str,
    out: Path,
    scenarios: tuple[str, ...],
    densities: tuple[float, ...],
    seeds: str | None,
    methods: tuple[str, ...],
    kuairand_dir: Path | None,
    quick: bool,
    workers: int,
) -> None:
    """Run the experiment NAME, or `all`; what is done stays done when it is stopped.

    NAME: validity, frontier, table1, ablation, router, sparsity, sensitivity, bias; or `report`,
    which runs nothing and writes all tables anew from the runs that are there. Writes
    OUT/NAME.json, plots OUT/NAME*.png, OUT/README.md with all tables, and OUT/runs/, one result a
    run.
    """
    given: dict[str, Any] = {"quick": quick, "kuairand": kuairand_dir is not None}
    if scenarios:
        given["scenarios"] = () if scenarios == ("none",) else scenarios
    if densities:
        given["densities"] = densities
    if seeds is not None or quick:
        given["seeds"] = _seeds(seeds or "0-1")
    if methods:
        given["methods"] = methods
    if name == "report":
        _report(out, kuairand_dir, given)
    else:
        _conduct(name, out, kuairand_dir, given, workers)


def _report(out: Path, kuairand: Path | None, given: dict[str, Any]) -> None:
    from experiments.conduct import report
    from experiments.workers import Place

    click.echo(f"Written: {report(Place(out, kuairand), _options(given))}")


def _options(given: dict[str, Any]) -> Options:
    from experiments.options import Options

    try:
        return Options(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _conduct(
    name: str, out: Path, kuairand: Path | None, given: dict[str, Any], workers: int
) -> None:
    from cli.framework_log import framework_log
    from cli.progress_display import ProgressDisplay

    with framework_log(out / "experiment.log") as terminal, ProgressDisplay(terminal) as display:
        from experiments.catalogue import NAMES, experiment
        from experiments.conduct import concerned, conduct
        from experiments.workers import Place

        options = _options(given)
        try:
            if name == "all":
                names = concerned(NAMES, options)
            else:
                experiment(name).blocks(options)
                names = [name]
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        # Compiling takes far longer than what a quick run trains.
        place = Place(out, kuairand, jit_compile=not options.quick)
        failures = []
        for each in names:
            with display.step(each) as detail:
                failures += conduct(place, each, options, workers=workers)
                detail(str(out / f"{each}.json"))
    if failures:
        first = failures[0]
        run = first.task.runs[0]
        raise JobError(
            f"{len(failures)} trainings failed; the first: {run.method} in {run.cell.name}: "
            f"{first.reason} (see {out}/worker-*.log)"
        )


def _seeds(text: str) -> tuple[int, ...]:
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds.extend(range(int(first), int(last or first) + 1))
    except ValueError as error:
        raise click.UsageError(f"--seeds is {text!r}; expected such as 0-7 or 0,2,5") from error
    return tuple(dict.fromkeys(seeds))
