"""`easq simulate`: the logs of a simulated short-video service."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import JobError


@click.command(
    "simulate",
    epilog="""\b
Examples:
  easq simulate --out logs --requests 40000 --scenario strong
  easq simulate --out logs --spans hourly --days 9 --base-days 7""",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder that the logs are written to.",
)
@click.option(
    "--requests", type=click.IntRange(min=1), help="Requests in the log.  [default: 20000]"
)
@click.option(
    "--scenario",
    type=click.Choice(["mild", "strong"]),
    help="Whether what people watch mostly agrees with what satisfies them, or often does not.  "
    "[default: mild]",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of everything random.  [default: 0]")
@click.option("--days", type=click.IntRange(min=1), help="Simulated days.  [default: 7]")
@click.option(
    "--spans",
    type=click.Choice(["hourly", "daily"]),
    default=None,
    help="Write a folder an hour or a day, for easq online; answers lie where they arrived.",
)
@click.option(
    "--base-days",
    type=click.IntRange(min=1),
    default=None,
    help="With --spans: the first days as one log in OUT/_base, for the full fit before.",
)
def command(
    out: Path,
    requests: int | None,
    scenario: str | None,
    seed: int | None,
    days: int | None,
    spans: str | None,
    base_days: int | None,
) -> None:
    """Write impressions, questionnaires, users and items as Parquet, with known true satisfaction.

    The same settings give the same bytes.
    """
    chosen = {"requests": requests, "scenario": scenario, "seed": seed, "days": days}
    if spans is None:
        if base_days is not None:
            raise click.UsageError("--base-days is for --spans")
        counts = write_simulated_logs(out, **chosen)
        then = f"train on them with: easq run --data-dir {out}"
    else:
        counts = write_simulated_logs(out, spans=spans, base_days=base_days or 0, **chosen)
        then = f"learn them with: easq online --watch {out}"
        if base_days is not None:
            then = f"fit on the base with: easq run --data-dir {out}/_base; then {then}"
    for table, rows in counts.items():
        click.echo(f"{table:<15} {rows:>12,}")
    click.echo(f"Written to {out}; {then}")


def write_simulated_logs(
    out: Path, *, spans: str | None = None, base_days: int = 0, **chosen: object
) -> dict[str, int]:
    """Writes logs with the simulator's defaults where a setting is `None`; returns rows by
    table. `spans` and `base_days` as in `simulator.write_span_logs`; without `spans`, one log.
    """
    from simulator import SimulatorConfig, write_logs, write_span_logs

    try:
        config = SimulatorConfig(
            **{name: value for name, value in chosen.items() if value is not None}
        )
        if spans is None:
            return write_logs(config, out)
        return write_span_logs(config, out, spans, base_days=base_days)
    except (OSError, ValueError) as error:
        raise JobError.of(error) from error
