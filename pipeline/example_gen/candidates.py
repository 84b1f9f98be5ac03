"""Impressions to slates: which rows make a slate, in which order, and which rows are left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.example_gen.answers import CandidateRows
from pipeline.example_gen.columnar import (
    Bools,
    Ints,
    numbers,
    one_chunk,
    position_in_run,
    starts_of_runs,
    take,
    text_ranks,
)
from pipeline.logs.dataset_config import Slate
from pipeline.logs.duplicates import later_copies
from pipeline.logs.requests import rebuild_requests


def in_log_order(rows: pa.Table) -> pa.Table:
    """The rows by file and row number, whatever order they arrived in."""
    return take(rows, np.lexsort((numbers(rows, "_row"), numbers(rows, "_file"))))


def copies(impressions: pa.Table) -> Bools:
    """Rows that equal an earlier row of the log in every column that is used."""
    # Most logs have none, which three columns are enough to see.
    suspect = later_copies(impressions, ["user_id", "item_id", "time_ms"])
    return later_copies(impressions) if suspect.any() else suspect


def with_requests(impressions: pa.Table, slate: Slate) -> pa.Table:
    """The rows with a `request_id` rebuilt from each user's times.

    Args:
        impressions: all rows of each user, in the order of the log, without copies.
        slate: how to rebuild, and the most rows a request may have.
    """
    user, _ = text_ranks(impressions.column("user_id"))
    rows = take(impressions, np.lexsort((numbers(impressions, "time_ms"), user)))
    requests = rebuild_requests(
        one_chunk(rows, "user_id"), numbers(rows, "time_ms"), slate.rebuild, slate.max_candidates
    )
    at = rows.schema.get_field_index("request_id")
    return in_log_order(rows.set_column(at, "request_id", requests))


def slates_of_requests(impressions: pa.Table) -> CandidateRows:
    """Gathers the rows of each user's request into a slate.

    Slates are numbered by user, then by time (the first of the request's rows), then by request
    id. Users and requests follow the UTF-8 bytes of their ids.

    Args:
        impressions: rows in the order of the log, with `user_id`, `request_id`, `item_id`,
            `time_ms`.
    """
    user, users = text_ranks(impressions.column("user_id"))
    request, requests = text_ranks(impressions.column("request_id"))
    item, items = text_ranks(impressions.column("item_id"))
    order = np.lexsort((request, user))
    starts = starts_of_runs(user[order], request[order])
    if len(starts):
        time = np.minimum.reduceat(numbers(impressions, "time_ms")[order], starts)
    else:
        time = np.zeros(0, np.int64)
    first = order[starts]
    by_time = np.lexsort((request[first], time, user[first]))
    number = np.empty(len(starts), np.int64)
    number[by_time] = np.arange(len(starts))
    slate = np.empty(len(order), np.int64)
    slate[order] = np.repeat(number, np.diff(np.append(starts, len(order))))
    return CandidateRows(
        impressions, users, requests, items, user, request, item, slate, time[by_time]
    )


def rows_at(rows: CandidateRows, at: Ints) -> CandidateRows:
    """The same slates with only these rows, in this order."""
    return CandidateRows(
        take(rows.table, at),
        rows.users,
        rows.requests,
        rows.items,
        rows.user[at],
        rows.request[at],
        rows.item[at],
        rows.slate[at],
        rows.slate_time,
    )


def repeated_items(rows: CandidateRows) -> Bools:
    """Rows whose item their slate already has.

    Of an item's rows, the first exposed one is kept, or the first if none was exposed.
    """
    cell = rows.slate * max(len(rows.items), 1) + rows.item
    repeated = np.zeros(len(cell), np.bool_)
    by_cell = np.argsort(cell, kind="stable")
    again = cell[by_cell][1:] == cell[by_cell][:-1]
    if not again.any():
        return repeated
    several = np.flatnonzero(np.isin(cell, cell[by_cell[1:][again]]))
    time = numbers(rows.table, "time_ms")[several]
    exposed = numbers(rows.table, "exposed")[several]
    order = np.lexsort((several, time, ~exposed, cell[several]))
    starts = starts_of_runs(cell[several][order])
    repeated[several[order[position_in_run(starts, len(order)) > 0]]] = True
    return repeated


def order_in_slates(rows: CandidateRows) -> Ints:
    """The rows slate by slate, each by position (missing ones last), then in the log's order."""
    position = numbers(rows.table, "position", missing=2**31 - 1)
    return np.lexsort((position, rows.slate))


def beyond_width(slate: Ints, exposed: Bools, width: int) -> Bools:
    """Rows that do not fit their slate's width; exposed candidates stay, then the first ones.

    Args:
        slate: `[rows]`, in the order of the slates.
        exposed: `[rows]`.
        width: most candidates a slate.
    """
    dropped = np.zeros(len(slate), np.bool_)
    if not len(slate) or np.bincount(slate).max() <= width:
        return dropped
    by_exposure = np.lexsort((~exposed, slate))
    starts = starts_of_runs(slate)
    dropped[by_exposure[position_in_run(starts, len(slate)) >= width]] = True
    return dropped
