"""`easq ab`: a closed-loop A/B test in the simulator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import JobError

if TYPE_CHECKING:
    from rich.table import Table

    from experiments.ab.settings import ABSettings


@click.command(
    "ab",
    epilog="""\b
Examples:
  easq ab
  easq ab --control EASQ --treatment EASQ --workdir aa
  easq ab --treatment run.yaml --scenario strong
  easq ab --control old/easq --treatment new/easq""",
)
@click.option("--control", help="A method, a YAML file of run settings, or a folder of a model.")
@click.option("--treatment", help="Likewise. Default: EMER against EASQ.")
@click.option("--scenario", type=click.Choice(["mild", "strong"]), help="Of the world.")
@click.option("--users", type=click.IntRange(min=2), help="People in the world.")
@click.option("--requests-per-day", type=click.IntRange(min=1), help="Of both arms together.")
@click.option("--days", type=click.IntRange(min=1), help="Days that are counted.")
@click.option("--spans-per-day", type=click.IntRange(min=1), help="Online trainings a day.")
@click.option("--seed", type=click.IntRange(min=0), help="Of everything.")
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of all settings, see experiments/ab/settings.py; options go before it.",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("easq_ab"),
    show_default=True,
    help="Folder of everything the test leaves behind; one that was stopped goes on there.",
)
def command(settings_file: Path | None, workdir: Path, **chosen: Any) -> None:
    """Let two rankers serve the people of one simulated world, and compare what people do.

    Each arm serves its users through its own model server and learns online from their reactions
    and answers. Leaves report.json, report.md and plots in the work folder.
    """
    from experiments.ab.settings import ABSettings
    from pipeline.logs.checked import ConfigError
    from simulator import SimulatorConfigError

    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        settings = ABSettings.from_yaml(settings_file) if settings_file else ABSettings()
        settings = dataclasses.replace(settings, **given)
    except (ConfigError, SimulatorConfigError) as error:
        raise click.UsageError(str(error)) from error
    try:
        _run(settings, workdir)
    except (OSError, RuntimeError) as error:
        raise JobError.of(error) from error


def _run(settings: ABSettings, workdir: Path) -> None:
    from cli.framework_log import framework_log
    from cli.progress_display import ProgressDisplay

    with (
        framework_log(workdir / "framework.log") as terminal,
        ProgressDisplay(terminal) as display,
    ):
        with display.step("Imports"):
            from experiments.ab.page import check_lines, write_page
            from experiments.ab.run import run_ab
        report = run_ab(settings, workdir, step=display.step)
        report["seconds"] = display.seconds
        text = json.dumps(report, indent=1, allow_nan=False)
        (workdir / "report.json").write_text(text, encoding="utf-8")
        page = write_page(report, workdir)
        display.console.print(_table(report["lifts"]))
        for line in check_lines(report):
            display.console.print(line.replace("**", ""))
        display.console.print(f"Report: {page}")


def _table(rows: list[dict[str, Any]]) -> Table:
    """The adjusted lifts, in 80 columns; the page has the others too."""
    from rich import box
    from rich.table import Table

    from experiments.ab.page import lift_text, number

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("")
    for column in ("control", "treatment", "adjusted lift"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        text = lift_text(row, "adjusted")
        style = "bold" if text.startswith("**") else ""
        values = (number(row["control"]), number(row["treatment"]), text.strip("*"))
        table.add_row(row["title"], *values, style=style)
    return table
