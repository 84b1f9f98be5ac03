"""One span between reading and writing: its slates, its new answers, what the store keeps of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.example_gen.answers import DUPLICATE, LATE, WITHOUT_IMPRESSION, triggered
from pipeline.example_gen.columnar import (
    ABSENT,
    Bools,
    Ints,
    look_up_text,
    numbers,
    one_chunk,
    position_in_run,
    take,
)
from pipeline.example_gen.counts import Counts
from pipeline.example_gen.examples import example_batch, unknown_candidates
from pipeline.example_gen.slates import (
    DUPLICATE_ROW,
    SLATE_TOO_SMALL,
    BuiltSlates,
    build_distinct_slates,
    row_letters,
    with_distinct_requests,
)
from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED, UNCERTAIN
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.daily_answers import taken_before
from pipeline.online.impression_store import WAITING_ROWS, ImpressionStore, StoreLimits
from pipeline.online.keys import Keys, held_out, keys_of
from pipeline.online.late_answers import LateAnswers, candidate_keys, join_late_answers
from pipeline.online.segments import ACTIVITY, SegmentContent, add_activity
from pipeline.online.slate_pieces import OF_EXAMPLE, slate_pieces
from pipeline.online.span_groups import (
    SpanGroups,
    arrival_keys,
    group_arrivals,
    in_order_of_users,
)
from pipeline.online.span_tables import SpanTables, names_of_files, with_waiting
from pipeline.online.spans import Span

REQUEST_OF_EARLIER_SPAN = "request_of_earlier_span"
# No slate of a span is split off for evaluation.
_NEVER_MS = 1 << 62


@dataclass(frozen=True)
class SpanSlates:
    """What a span becomes.

    Attributes:
        train, holdout: the slates to learn from and those of held-out users, in pieces as all
            slates here.
        groups: pair groups of the new answers.
        holdout_late: answered slates of held-out users from earlier spans, with `answered_ms`.
        waiting: the answers whose impression may still land, see `WAITING_ROWS`.
        segment: what the store keeps; None where the span held nothing.
        counts: what became of every row.
        dead_letters: by table.
    """

    train: pa.Table
    holdout: pa.Table
    groups: SpanGroups
    holdout_late: pa.Table
    waiting: pa.Table
    segment: SegmentContent | None
    counts: Counts
    dead_letters: dict[str, list[pa.Table]]


def span_slates(
    span: Span,
    tables: SpanTables,
    store: ImpressionStore,
    dataset: DatasetConfig,
    *,
    holdout: float,
    limits: StoreLimits,
    clock_ms: int,
) -> SpanSlates:
    """Builds the slates of a span and joins its answers, to them and to those in the store.

    Args:
        span: which.
        tables: its rows.
        store: what is known of the spans before.
        dataset: the rules.
        holdout: share of the users that are held out.
        limits: how long an answer waits for its impression, and how many may.
        clock_ms: the newest time seen.
    """
    counts: Counts = Counter(tables.counts)
    letters = {name: list(parts) for name, parts in tables.dead_letters.items()}
    names = dict(tables.file_names)

    def reject(table: str, rows: pa.Table, reasons: list[str]) -> None:
        kind = "answers" if table == "questionnaires" else table
        for reason in reasons:
            counts[_rejected(kind, reason)] += 1
        if reasons:
            letters.setdefault(table, []).append(row_letters(table, rows, reasons, names))

    impressions, copies = with_distinct_requests(tables.impressions, dataset)
    reject("impressions", copies, [DUPLICATE_ROW] * copies.num_rows)
    requests = _request_keys(impressions)
    seen = store.requests_seen(requests)
    reject("impressions", take(impressions, seen), [REQUEST_OF_EARLIER_SPAN] * int(seen.sum()))
    impressions, requests = take(impressions, ~seen), requests[~seen]

    asked = tables.questionnaires
    if asked is not None:
        counts["answers", "waited"] += store.waiting.num_rows
        own = tuple(f"{span.name}/{name}" for name in names["questionnaires"])
        asked, names["questionnaires"] = with_waiting(asked, store.waiting, own)
    # A slate too small to learn from may still be answered, as one in ExampleGen's log may.
    any_size = replace(dataset, slate=replace(dataset.slate, min_candidates=1))
    built = build_distinct_slates(
        impressions,
        asked,
        tables.users,
        any_size,
        split_time_ms=_NEVER_MS,
        file_names=names,
        impressions_elsewhere=True,
        taken_before=taken_before(store),
    )
    _take_over(built, counts, letters)
    activity = store.activity
    slates = _with_train_slates(built.slates, activity)
    columns = _examples(slates, tables.items, activity, dataset)
    small = _too_small(slates, dataset)
    of_small = take(built.rows.table, np.repeat(small, _sizes(slates)))
    reject("impressions", of_small, [SLATE_TOO_SMALL] * of_small.num_rows)
    counts["impressions", "used"] -= of_small.num_rows
    counts.update([("slates", "rejected", SLATE_TOO_SMALL)] * int(small.sum()))
    held = held_out(slates.column("user_id"), holdout)
    pieces = slate_pieces(columns)
    train, kept_out = take(pieces, ~small & ~held), take(pieces, ~small & held)
    counts["slates", "train"] += train.num_rows
    counts["slates", "holdout"] += kept_out.num_rows
    if tables.items is not None:
        counts["unknown", "items"] += unknown_candidates(take(slates, ~small), tables.items)

    arrivals = _with_train_slates(built.answered, activity)
    answered_ms = arrivals.column("answered_ms")
    arrivals = arrivals.drop_columns(["answered_ms", "group_size"])
    arrivals = slate_pieces(_examples(arrivals, tables.items, activity, dataset))
    arrivals = arrivals.append_column("answered_ms", answered_ms)
    late = join_late_answers(built.unmatched, store, dataset, taken_before(store, arrivals))
    waiting = _judge(late, built.unmatched, clock_ms, limits)
    lost = (late.reason != "") & ~waiting
    reject("questionnaires", take(built.unmatched, lost), late.reason[lost].tolist())
    counts["answers", "waiting"] += int(waiting.sum())
    _count_answers(counts, slates, held, late, holdout)

    arrivals = take(arrivals, ~held_out(arrivals.column("user_id"), holdout))
    late_arrivals = arrivals.slice(0, 0)
    if late.arrivals is not None:
        late_arrivals = late.arrivals.select(arrivals.column_names).cast(arrivals.schema)
    late_held = held_out(late_arrivals.column("user_id"), holdout)
    arrivals = in_order_of_users(pa.concat_tables([arrivals, take(late_arrivals, ~late_held)]))
    groups = group_arrivals(arrivals, store, dataset.pair_window)
    holdout_late = take(late_arrivals, late_held)
    counts["slates", "answered"] += len(groups.rows)
    counts["slates", "holdout_late"] += holdout_late.num_rows
    counts["pair_groups",] += groups.groups
    counts["pairs", "same_user"] += groups.same_user_pairs
    counts["pairs", "in_request"] += groups.in_request_pairs

    stays = take(built.unmatched, waiting)
    file_of_answers = names.get("questionnaires", ())
    stays = stays.append_column("_name", names_of_files(stays, file_of_answers))
    segment = None
    if len(requests) or len(late.consumed):
        liked = _activity(take(columns, ~small))
        segment = _segment(pieces, built, requests, arrivals, late, liked, dataset)
    return SpanSlates(
        train,
        kept_out,
        groups,
        holdout_late,
        stays.select(WAITING_ROWS.names).cast(WAITING_ROWS),
        segment,
        counts,
        letters,
    )


def _rejected(kind: str, reason: str) -> tuple[str, ...]:
    """Where a rejected row is counted."""
    if kind == "answers" and reason == LATE:
        return "answers", "late_rejected"
    if kind == "answers" and reason == DUPLICATE:
        return "answers", "duplicates"
    return kind, "rejected", reason


def _take_over(built: BuiltSlates, counts: Counts, letters: dict[str, list[pa.Table]]) -> None:
    """Counts and dead letters of ExampleGen, as far as they are a span's too."""
    for path, number in built.counts.items():
        if path[0] in ("impressions", "unknown") or path in _OF_EXAMPLE_GEN:
            counts[path] += number
        elif path == ("answers", "late"):
            counts["answers", "late_rejected"] += number
        elif path[1:2] == ("rejected",):
            counts[_rejected(path[0], path[2])] += number
    for table in ("impressions", "questionnaires"):
        of_table = built.dead_letters.filter(pc.equal(built.dead_letters["table"], table))
        if of_table.num_rows:
            letters.setdefault(table, []).append(of_table)


_OF_EXAMPLE_GEN = (("answers", "read"), ("answers", "not_answered"), ("slates", "read"))


def _examples(
    slates: pa.Table, items: pa.Table | None, activity: pa.Table, dataset: DatasetConfig
) -> pa.Table:
    """The columns of the examples; popularity is that of the spans before."""
    liked = _activity_of(activity, "item").rename_columns(["item_id", "number"])
    batch = example_batch(slates.combine_chunks(), items, liked, dataset)
    return pa.Table.from_batches([batch])


def _with_train_slates(slates: pa.Table, activity: pa.Table) -> pa.Table:
    """With `user_train_slates` as it was before the span."""
    known = _activity_of(activity, "user")
    at = look_up_text(slates.column("user_id"), one_chunk(known, "id"))
    number = np.append(numbers(known, "number"), 0)[at]  # ABSENT takes the 0
    place = slates.schema.get_field_index("user_train_slates")
    return slates.set_column(place, "user_train_slates", pa.array(number, pa.int64()))


def _activity_of(activity: pa.Table, what: str) -> pa.Table:
    return activity.filter(pc.equal(activity["what"], what)).select(["id", "number"])


def _request_keys(rows: pa.Table) -> Keys:
    return keys_of(rows.column("user_id"), rows.column("request_id"))


def _sizes(slates: pa.Table) -> Ints:
    return np.diff(np.asarray(one_chunk(slates, "item_id").offsets))


def _answers(slates: pa.Table) -> NDArray[np.int8]:
    return one_chunk(slates, "answer").flatten().to_numpy()


def _too_small(slates: pa.Table, dataset: DatasetConfig) -> Bools:
    """Slates with nothing to compare and without a usable answer."""
    sizes, codes = _sizes(slates), _answers(slates)
    usable = (codes == SATISFIED) | (codes == DISSATISFIED)
    answered = np.bincount(np.repeat(np.arange(len(sizes)), sizes), usable, len(sizes))
    return (sizes < dataset.slate.min_candidates) & (answered == 0)


def _judge(late: LateAnswers, asked: pa.Table, clock_ms: int, limits: StoreLimits) -> Bools:
    """Which answers go on waiting for their impression: not the old ones, nor too many."""
    answered_ms = numbers(asked, "answered_ms")
    waiting = late.reason == WITHOUT_IMPRESSION
    waiting &= answered_ms + limits.delay_ms >= clock_ms
    place = np.lexsort((numbers(asked, "_row"), numbers(asked, "_file"), answered_ms))
    newest_first = place[waiting[place]][::-1]
    waiting[newest_first[limits.max_waiting :]] = False
    return waiting


def _count_answers(
    counts: Counts, slates: pa.Table, held: Bools, late: LateAnswers, holdout: float
) -> None:
    codes = np.concatenate([_answers(slates).astype(np.int64), late.answer])
    held_late = held_out(late.user_id, holdout)
    held_codes = np.concatenate([np.repeat(held, _sizes(slates)), held_late])
    counts["answers", "holdout"] += int((held_codes & (codes != NOT_ANSWERED)).sum())
    for name, code in (
        ("satisfied", SATISFIED),
        ("dissatisfied", DISSATISFIED),
        ("uncertain", UNCERTAIN),
    ):
        number = int((~held_codes & (codes == code)).sum())
        counts["answers", name] += number
        if code != UNCERTAIN:
            counts["answers", "trained"] += number
    counts["answers", "late_used"] += int((held_late | (late.answer != UNCERTAIN)).sum())


def _segment(
    slates: pa.Table,
    built: BuiltSlates,
    requests: Keys,
    arrivals: pa.Table,
    late: LateAnswers,
    activity: pa.Table,
    dataset: DatasetConfig,
) -> SegmentContent:
    keys: dict[str, NDArray] = {"request": np.unique(requests)}
    consumed = [late.consumed]
    rows, sizes = built.rows, _sizes(slates)
    slate = np.repeat(np.arange(len(sizes)), sizes)
    open_slates = np.zeros(0, np.int64)
    may_be_asked = np.zeros(len(slate), np.bool_)
    if dataset.questionnaire.from_behaviours is None:
        ids = (
            pa.chunked_array([one_chunk(slates, "user_id").take(pa.array(slate))]),
            pa.chunked_array([one_chunk(slates, "request_id").take(pa.array(slate))]),
            pa.chunked_array([one_chunk(slates, "item_id").flatten()]),
        )
        exposed = numbers(rows.table, "exposed")
        may_be_asked = exposed & triggered(rows.table, dataset.trigger)
        open_slates = np.unique(slate[may_be_asked])
        keys |= _candidate_keys(ids, slate, sizes, exposed, may_be_asked, rows.table, dataset)
        answered = _answers(slates) != NOT_ANSWERED
        consumed.append(keys_of(*(each.filter(pa.array(answered)) for each in ids)))
    else:
        keys |= {name: np.zeros(0, kind) for name, kind in _CANDIDATE.items()}
    keys["consumed"] = np.unique(np.concatenate(consumed))
    keys |= arrival_keys(arrivals)
    times = (numbers(slates, "time"), numbers(arrivals, "answered_ms"), [late.newest_ms])
    return SegmentContent(
        newest_ms=int(np.concatenate(times).max()),
        keys=keys,
        slates=take(slates, open_slates),
        answered=arrivals.select(OF_EXAMPLE),
        activity=activity,
    )


_CANDIDATE = {
    "candidate": np.uint64,
    "candidate_ms": np.int64,
    "candidate_slate": np.int32,
    "candidate_at": np.int16,
    "candidate_exposed": np.uint8,
    "candidate_triggered": np.uint8,
}


def _candidate_keys(
    ids: tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray],
    slate: Ints,
    sizes: Ints,
    exposed: Bools,
    may_be_asked: Bools,
    rows: pa.Table,
    dataset: DatasetConfig,
) -> dict[str, NDArray]:
    """What answers are looked up in: the candidates that may be asked about, or all of them.

    An answer that names no request is about the user's latest impression of the item. Whether an
    earlier one was the latest cannot be told without those that nobody may be asked about.
    """
    keys = candidate_keys(*ids, dataset)
    starts = np.cumsum(sizes) - sizes
    open_slates = np.unique(slate[may_be_asked])
    row_of = np.full(len(sizes), ABSENT, np.int64)
    row_of[open_slates] = np.arange(len(open_slates))
    columns = {
        "candidate": keys,
        "candidate_ms": numbers(rows, "time_ms"),
        "candidate_slate": row_of[slate],
        "candidate_at": position_in_run(starts, len(slate)),
        "candidate_exposed": exposed,
        "candidate_triggered": may_be_asked,
    }
    by_request = dataset.questionnaire.columns.request_id is not None
    listed = np.flatnonzero(may_be_asked | (not by_request))
    order = listed[np.lexsort((columns["candidate_ms"][listed], keys[listed]))]
    return {name: columns[name][order].astype(kind) for name, kind in _CANDIDATE.items()}


def _activity(columns: pa.Table) -> pa.Table:
    """Likes of items (a behaviour level of 1 or more) and requests of users."""
    liked = one_chunk(columns, "behaviour_level").flatten().to_numpy() >= 1
    parts = []
    for what, ids in (
        ("item", one_chunk(columns, "item_id").flatten().filter(pa.array(liked))),
        ("user", one_chunk(columns, "user_id")),
    ):
        number = pa.array(np.ones(len(ids), np.int64))
        parts.append(
            pa.table([pa.array([what] * len(ids), pa.string()), ids, number], schema=ACTIVITY)
        )
    return add_activity(ACTIVITY.empty_table(), parts)
