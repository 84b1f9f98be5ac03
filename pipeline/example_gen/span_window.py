"""A log that lands as span folders, read as one: the newest so many spans up to one of them.

TFX's own span ranges read one span only, and its resolvers of several do not compile for Kubeflow
Pipelines. So the window is looked up here, where the examples are made, on any runner.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from pipeline.logs.columns import Table
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.places import is_file, is_folder, joined, matching_files, names_in
from pipeline.online.spans import SUCCESS_FILE, Span, SpanError, in_order

NEWEST = "newest"


@dataclass(frozen=True)
class Window:
    """The part of a folder of spans that is read.

    Attributes:
        dataset: whose paths lead to the tables in the window's folders.
        spans: in the order of their numbers; at least one.
    """

    dataset: DatasetConfig
    spans: tuple[Span, ...]


def find_window(dataset: DatasetConfig, logs: str, *, span: str, spans: int) -> Window:
    """Looks up the last `spans` complete spans up to `span`; fewer, where there are not as many.

    The users and items tables are those of the newest span that brings its own, or else the shared
    ones beside the spans.

    Args:
        dataset: its paths relative to a span.
        logs: the folder that the spans land in; see `pipeline.logs.places`.
        span: the name of the last one, or `newest`.
        spans: how many, at least 1.

    Raises:
        SpanError: no such folder, no complete span, or `span` is not one of them.
    """
    if not is_folder(logs):
        raise SpanError(logs, "no such folder", "give the folder that the spans land in")
    landed = in_order(logs, map(Path, names_in(logs)[1]))
    complete = [one for one in landed if is_file(joined(logs, f"{one.name}/{SUCCESS_FILE}"))]
    if not complete:
        held = ", ".join(one.name for one in landed[-3:]) or "nothing"
        raise SpanError(
            logs,
            f"no complete span; there is {held}",
            f"write {SUCCESS_FILE} into a span once it is whole",
        )
    if span != NEWEST:
        complete = _up_to(complete, span, logs)
    window = complete[-spans:]
    tables = {
        name: _in_window(table, name, logs, window)
        for name in ("impressions", "questionnaires", "users", "items")
        if (table := getattr(dataset.tables, name)) is not None
    }
    read = dataclasses.replace(dataset, tables=dataclasses.replace(dataset.tables, **tables))
    return Window(read, tuple(window))


def _up_to(complete: list[Span], last: str, logs: str) -> list[Span]:
    at = [index for index, one in enumerate(complete) if one.name == last]
    if not at:
        names = ", ".join(one.name for one in complete[-3:])
        raise SpanError(
            logs,
            f"no complete span {last}; the newest are {names}",
            f"give one of them, or {NEWEST}",
        )
    return complete[: at[0] + 1]


def _in_window(table: Table, name: str, logs: str, window: list[Span]) -> Table:
    """The table with its paths relative to the folder of the spans."""
    inside = [tuple(f"{one.name}/{path}" for path in table.path) for one in window]
    if name in ("impressions", "questionnaires"):
        return dataclasses.replace(table, path=sum(inside, ()))
    for paths in reversed(inside):
        if any(next(matching_files(logs, path), None) is not None for path in paths):
            return dataclasses.replace(table, path=paths)
    return table
