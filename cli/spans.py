"""`easq spans`: folders of logs that land one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cli.errors import JobError


@click.group("spans", epilog="Example: easq spans split --help")
def command() -> None:
    """Make span folders for easq online."""


@command.command(
    "split",
    epilog="""\b
Examples:
  easq spans split --dataset kuairand --data-dir KUAIRAND_DIR --out spans
  easq spans split --dataset my_logs.yaml --data-dir logs --by hour --base 48 --out spans""",
)
@click.option(
    "--dataset",
    required=True,
    help="A built-in dataset (simulated, kuairand) or the path of a dataset config.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of the log.",
)
@click.option(
    "--by",
    type=click.Choice(["day", "hour"]),
    default="day",
    show_default=True,
    help="Length of a span.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder that the span folders are written to.",
)
@click.option(
    "--base",
    type=click.IntRange(min=1),
    default=None,
    help="So many of the first spans go, as one log, into OUT/_base, for the full fit before.",
)
def split(
    dataset: str, data_dir: Path, by: Literal["day", "hour"], out: Path, base: int | None
) -> None:
    """Cut a log into one folder a day or an hour, each row as it is.

    Answers go where they arrived.
    """
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.logs.errors import LogError
    from pipeline.online.span_split import split_into_spans
    from pipeline.online.spans import SpanError

    try:
        config = load_dataset_config(dataset)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    try:
        counts = split_into_spans(config, data_dir, out, by, base=base or 0)
    except (LogError, SpanError, OSError) as error:
        raise JobError.of(error) from error
    malformed = counts.pop("malformed", 0)
    for name, rows in counts.items():
        click.echo(f"{name:<15} {rows:>12,}")
    if malformed:
        click.echo(f"Left out: {malformed:,} lines with another number of fields than the header.")
    click.echo(f"Written to {out}; learn them with: easq online --watch {out}")
