"""`easq simulate`: the logs of a simulated short-video service."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import JobError


@click.command(
    "simulate",
    epilog="Example: easq simulate --out logs --requests 40000 --scenario strong",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--requests", type=click.IntRange(min=1), default=None, help="Requests in the log.")
@click.option("--scenario", type=click.Choice(["mild", "strong"]), default=None)
@click.option("--seed", type=click.IntRange(min=0), default=None)
def command(out: Path, requests: int | None, scenario: str | None, seed: int | None) -> None:
    """Write impressions, questionnaires, users and items as Parquet, with known true satisfaction.

    The same settings give the same bytes.
    """
    counts = write_simulated_logs(out, requests=requests, scenario=scenario, seed=seed)
    for table, rows in counts.items():
        click.echo(f"{table:<15} {rows:>12,}")
    click.echo(f"Written to {out}; train on them with: easq run --data-dir {out}")


def write_simulated_logs(out: Path, **chosen: object) -> dict[str, int]:
    """Writes logs with the simulator's defaults where a setting is `None`; returns rows by
    table.
    """
    from simulator import SimulatorConfig, write_logs

    try:
        config = SimulatorConfig(
            **{name: value for name, value in chosen.items() if value is not None}
        )
        return write_logs(config, out)
    except (OSError, ValueError) as error:
        raise JobError(str(error)) from error
