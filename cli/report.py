"""`easq report`: a run's report again, or two runs side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import JobError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_RUN = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(
    "report",
    epilog="""\b
Examples:
  easq report easq_run
  easq report --compare easq_run other_run
  easq report --compare easq_run other_run --out results/comparison.html""",
)
@click.argument("run", type=_RUN, required=False)
@click.option(
    "--compare",
    "compared",
    type=_RUN,
    nargs=2,
    metavar="RUN_A RUN_B",
    help="Work folders of two finished runs on one dataset; differences are B minus A.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("comparison.html"),
    show_default=True,
    help="The page that --compare writes; its figures go into a .json beside it.",
)
def command(run: Path | None, compared: tuple[Path, Path] | None, out: Path) -> None:
    """Print what a finished RUN found and write its report.html anew, or compare two runs.

    Everything comes from the runs' report.json; nothing is trained or evaluated again.
    """
    if (run is None) == (compared is None):
        raise click.UsageError("give either the work folder of a run, or --compare and two of them")
    try:
        if compared is not None:
            _compare(*compared, out)
        elif run is not None:
            _again(run)
    except (OSError, ValueError) as error:
        raise JobError.of(error) from error


def _again(run: Path) -> None:
    from cli.run_summary import print_summary
    from pipeline.local_runner import Workdir
    from pipeline.report import write_report
    from pipeline.report.compare import read_report

    report, place = read_report(run), Workdir(run)
    write_report(report, place)
    print_summary(report, _console())
    click.echo(f"Report: {place.report_html}")


def _compare(first: Path, second: Path, out: Path) -> None:
    from pipeline.report.compare import compare_runs, render_comparison

    comparison = compare_runs(first, second)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render_comparison(comparison), encoding="utf-8")
    text = json.dumps(comparison, indent=1, allow_nan=False)
    out.with_suffix(".json").write_text(text, encoding="utf-8")
    console = _console()
    for name, described in zip(("A", "B"), comparison["runs"], strict=True):
        console.print(f"{name}  {described['folder']}: {described['verdict']}")
    console.print(_table(comparison))
    for change in comparison["settings"]:
        before, after = (json.dumps(value) for value in change["values"])
        console.print(f"{change['name']}: {before} → {after}", markup=False)
    console.print(comparison["sentence"])
    click.echo(f"Comparison: {out}")


def _console() -> Console:
    from rich.console import Console

    # In a file or a pipe a line stays a line.
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def _table(comparison: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    from pipeline.report.text import METRIC_NAMES, difference, stacked

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in ("metric", "A", "B", "B − A"):
        table.add_column(column)
    for row in comparison["metrics"]:
        table.add_row(
            METRIC_NAMES[row["metric"]],
            *(stacked(entry) for entry in row["values"]),
            difference(row["difference"], between="\n"),
        )
    return table
