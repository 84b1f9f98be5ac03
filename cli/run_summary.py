"""What a run prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from serving.slates import Ranking


def print_summary(report: dict[str, Any], console: Console) -> None:
    """Counts, rankings side by side, and what became of the model."""
    from pipeline.report import summarise

    summary = summarise(report)
    console.print()
    for name, text in summary.counts:
        console.print(f"{name:<12} {text}")
    table = Table(box=box.SIMPLE_HEAD)
    for column in summary.columns:
        table.add_column(column)
    for row in summary.rows:
        table.add_row(*row)
    console.print(table)
    for sentence in (summary.verdict, summary.infra_check, summary.push):
        console.print(sentence)


def print_ranking(ranking: Ranking, console: Console) -> None:
    """One served slate, the best candidate first."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"One slate of the eval split, ranked by the served version {ranking.model_version}",
    )
    for column in ("rank", "item", "ŷ"):
        table.add_column(column, justify="right")
    for rank, (item, score) in enumerate(ranking.items, start=1):
        table.add_row(str(rank), item, f"{score:+.3f}")
    console.print(table)
