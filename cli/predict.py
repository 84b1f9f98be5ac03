"""`easq predict`: ranks one slate with a running model server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from cli.errors import JobError

_REMEDIES = {
    "UNAVAILABLE": "; start a server with easq serve, or name another with --address",
    "DEADLINE_EXCEEDED": "; wait longer with --deadline",
    "NOT_FOUND": "; name another with --model, --version or --label",
}


@click.command(
    "predict",
    epilog="""\b
Examples:
  easq predict easq_run/slate.json
  easq predict --label canary --address ranker:8500 slate.json
  echo '{"user_id": "17", "item_id": ["301", "7"]}' | easq predict -""",
)
@click.argument(
    "slate", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--address", default="127.0.0.1:8500", show_default=True, help="gRPC host and port.")
@click.option("--model", default="easq", show_default=True, help="Name of the served model.")
@click.option("--version", "model_version", type=int, help="Version; the newest without it.")
@click.option("--label", help="Version label, such as stable.")
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the ranking.",
)
def command(
    slate: Path,
    address: str,
    model: str,
    model_version: int | None,
    label: str | None,
    deadline: float,
) -> None:
    """Rank the candidates of SLATE, a JSON file (- for standard input).

    The file maps each feature to its value, candidate features to a list; item_id is required.
    Prints one line a candidate, the best first: its rank, id and score.
    """
    from serving.client import RankingClient, RankingError

    if model_version is not None and label is not None:
        raise click.UsageError("--version and --label exclude each other")
    request = _read_slate(slate)
    try:
        with RankingClient(
            address, model=model, version=model_version, label=label, deadline_seconds=deadline
        ) as client:
            ranking = client.rank(request)
    except (RankingError, ValueError) as error:
        code = error.code.name if isinstance(error, RankingError) else ""
        raise JobError(f"{address}: {error}{_REMEDIES.get(code, '')}") from error
    for rank, (item, score) in enumerate(ranking.items, start=1):
        click.echo(f"{rank}\t{item}\t{score:.6g}")


def _read_slate(path: Path) -> dict[str, Any]:
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        slate = json.loads(text)
    except json.JSONDecodeError as error:
        raise JobError(f"{path}: not JSON: {error}; expected an object of features") from error
    if not isinstance(slate, dict):
        raise JobError(f"{path}: found {type(slate).__name__}; expected an object of features")
    return slate
