"""Pair groups across spans: each new answer with the same user's earlier ones, from the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.example_gen.answers import MS_PER_HOUR
from pipeline.example_gen.columnar import Ints, numbers, one_chunk, take, text_ranks
from pipeline.example_gen.examples import order_in_time
from pipeline.example_gen.pair_groups import members, pair_groups
from pipeline.logs.canonical import DISSATISFIED, SATISFIED
from pipeline.logs.dataset_config import PairWindow
from pipeline.online.impression_store import ImpressionStore
from pipeline.online.keys import Keys, keys_of
from pipeline.online.slate_pieces import OF_EXAMPLE


@dataclass(frozen=True)
class SpanGroups:
    """The groups of a span's new answers; group 0 has the oldest anchor.

    Attributes:
        slates: the slates of all groups, each once, in pieces (`OF_EXAMPLE` of them).
        rows: `[records]`, rows of `slates`, group after group, each in the order of time and with
            its anchor, the new answer, last.
        group, group_time: `[records]`.
        same_user_pairs, in_request_pairs: as `PairGroups`.
    """

    slates: pa.Table
    rows: Ints
    group: Ints
    group_time: Ints
    same_user_pairs: int
    in_request_pairs: int

    @property
    def groups(self) -> int:
        return int(self.group[-1]) + 1 if len(self.group) else 0


@dataclass(frozen=True)
class Arrivals:
    """Answered slates as far as groups need them; all arrays are `[arrivals]`."""

    user: Keys
    request: Keys
    ms: Ints
    satisfied: Ints
    dissatisfied: Ints


def arrival_keys(arrivals: pa.Table) -> dict[str, NDArray]:
    """What `Segment.keys` holds of answered slates, sorted by user and time.

    Args:
        arrivals: in the order of `in_order_of_users`.
    """
    known = arrivals_of_table(arrivals)
    order = np.lexsort((np.arange(len(known.user)), known.ms, known.user))
    return {
        "arrival_user": known.user[order],
        "arrival_ms": known.ms[order],
        "arrival_row": order.astype(np.int32),
        "arrival_request": known.request[order],
        "arrival_satisfied": known.satisfied[order].astype(np.int16),
        "arrival_dissatisfied": known.dissatisfied[order].astype(np.int16),
    }


def in_order_of_users(arrivals: pa.Table) -> pa.Table:
    """Answered slates by user, time of the answer, time and request."""
    user, _ = text_ranks(arrivals.column("user_id"))
    request, _ = text_ranks(arrivals.column("request_id"))
    times = numbers(arrivals, "time"), numbers(arrivals, "answered_ms")
    return take(arrivals, np.lexsort((request, *times, user))).combine_chunks()


def group_arrivals(arrivals: pa.Table, store: ImpressionStore, window: PairWindow) -> SpanGroups:
    """Groups each new answered slate with the user's earlier ones.

    Args:
        arrivals: the new ones, in the order of `in_order_of_users`.
        store: holds the earlier ones.
        window: how far back, and how many.
    """
    window_ms = window.hours * MS_PER_HOUR
    new = arrivals_of_table(arrivals)
    old, segment, row = arrivals_of_store(store, np.unique(new.user))
    user = np.unique(np.concatenate([old.user, new.user]), return_inverse=True)[1]
    request = np.unique(np.concatenate([old.request, new.request]), return_inverse=True)[1]
    ms = np.concatenate([old.ms, new.ms])
    olds, news = len(old.ms), len(new.ms)
    is_new = np.arange(olds + news) >= olds
    order = np.lexsort((np.arange(olds + news), is_new, ms, user))
    place = np.empty(olds + news, np.int64)
    place[order] = np.arange(olds + news)
    groups = pair_groups(
        user[order],
        request[order],
        ms[order],
        np.concatenate([old.satisfied, new.satisfied])[order],
        np.concatenate([old.dissatisfied, new.dissatisfied])[order],
        window_ms=window_ms,
        max_slates=window.max_slates,
        anchors=np.flatnonzero(is_new[order]),
    )
    by_time = order_in_time(arrivals, "answered_ms")
    member, group = members(groups.size, place[olds + by_time])
    used = order[member]
    earlier = np.unique(used[used < olds])
    slates, row_of = _fetched(store, earlier, segment, row, arrivals.select(OF_EXAMPLE))
    rows = np.where(used < olds, row_of[np.minimum(used, max(olds - 1, 0))] if olds else 0, 0)
    rows = np.where(used >= olds, used - olds + len(earlier), rows)
    return SpanGroups(
        slates,
        rows,
        group,
        new.ms[by_time][group],
        groups.same_user_pairs,
        groups.in_request_pairs,
    )


def arrivals_of_table(arrivals: pa.Table) -> Arrivals:
    answers = one_chunk(arrivals, "answer")
    offsets = np.asarray(answers.offsets) - answers.offsets[0].as_py()
    codes = answers.flatten().to_numpy()

    def number(code: int) -> Ints:
        until = np.append(0, np.cumsum(codes == code))
        return np.diff(until[offsets])

    user_id = arrivals.column("user_id")
    return Arrivals(
        keys_of(user_id),
        keys_of(user_id, arrivals.column("request_id")),
        numbers(arrivals, "answered_ms"),
        number(SATISFIED),
        number(DISSATISFIED),
    )


def arrivals_of_store(store: ImpressionStore, users: Keys) -> tuple[Arrivals, Ints, Ints]:
    """The earlier arrivals of these users, the segment each is in, and its row there."""
    parts: list[tuple[NDArray, ...]] = []
    for number, segment in enumerate(store.segments):
        keys = segment.keys
        start, end = (
            np.searchsorted(keys["arrival_user"], users, side) for side in ("left", "right")
        )
        sizes = end - start
        total = int(sizes.sum())
        if total:
            at = np.arange(total) + np.repeat(start - (np.cumsum(sizes) - sizes), sizes)
            of_row = (keys["arrival_row"][at], np.full(total, number))
            names = ("user", "request", "ms", "satisfied", "dissatisfied")
            parts.append((*(keys[f"arrival_{name}"][at] for name in names), *of_row))
    kinds = (np.uint64, np.uint64, *[np.int64] * 5)
    columns = [
        np.concatenate([np.zeros(0, kind), *(part[number].astype(kind) for part in parts)])
        for number, kind in enumerate(kinds)
    ]
    return Arrivals(*columns[:5]), columns[6], columns[5]


def _fetched(
    store: ImpressionStore, earlier: Ints, segment: Ints, row: Ints, new: pa.Table
) -> tuple[pa.Table, Ints]:
    """The earlier arrivals followed by the new ones; and the row of each earlier one."""
    row_of = np.full(len(row), -1, np.int64)
    tables, count = [], 0
    for number in np.unique(segment[earlier]):
        here = earlier[segment[earlier] == number]
        tables.append(store.segments[number].answered(row[here]))
        row_of[here] = count + np.arange(len(here))
        count += len(here)
    return pa.concat_tables([*tables, new]), row_of
