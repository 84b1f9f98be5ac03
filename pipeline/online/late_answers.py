"""Answers to impressions of earlier spans: found in the store, judged as ExampleGen judges them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.example_gen.answers import (
    LATE,
    MS_PER_HOUR,
    OVER_DAILY_LIMIT,
    WITHOUT_IMPRESSION,
    TakenBefore,
    knows_requests,
    over_daily_limit,
    reject_answers,
)
from pipeline.example_gen.columnar import (
    ABSENT,
    Bools,
    Ints,
    lists,
    numbers,
    one_chunk,
    take,
)
from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.impression_store import ImpressionStore
from pipeline.online.keys import Keys, keys_of


@dataclass(frozen=True)
class Places:
    """Where in the store the candidate of each answer is; all arrays are `[answers]`.

    Attributes:
        segment: number within `ImpressionStore.segments`; `ABSENT` where there is none.
        candidate: place in the segment's candidate keys.
        slate, at: the slate's row in the segment (`ABSENT`: it cannot be answered) and the
            candidate's place in it.
        shown_ms, exposed, may_be_asked: see `reject_answers`.
    """

    segment: Ints
    candidate: Ints
    slate: Ints
    at: Ints
    shown_ms: Ints
    exposed: Bools
    may_be_asked: Bools


@dataclass(frozen=True)
class LateAnswers:
    """What became of the answers whose impression is not in their own span.

    Attributes:
        reason: `[answers]` text: "" for those that count; `WITHOUT_IMPRESSION` where the store
            holds none either.
        user_id, answer: `[counting]`.
        arrivals: the slates that got a usable answer, in pieces, with the answers of one moment
            only, and `answered_ms`.
        consumed: `[counting]`, keys of the candidates.
        newest_ms: of the counting answers; 0 if there is none.
    """

    reason: np.ndarray
    user_id: pa.ChunkedArray
    answer: Ints
    arrivals: pa.Table | None
    consumed: Keys
    newest_ms: int


def candidate_keys(
    user_id: pa.ChunkedArray,
    request_id: pa.ChunkedArray,
    item_id: pa.ChunkedArray,
    dataset: DatasetConfig,
) -> Keys:
    """What answers find a candidate by: its request, or only user and item where they name none."""
    if knows_requests(dataset):
        return keys_of(user_id, request_id, item_id)
    return keys_of(user_id, item_id)


def join_late_answers(
    asked: pa.Table, store: ImpressionStore, dataset: DatasetConfig, taken_before: TakenBefore
) -> LateAnswers:
    """Finds the impression of each answer in the store and decides whether the answer counts.

    Args:
        asked: canonical rows of the questionnaires table, all answered.
        store: what is held of the spans before.
        dataset: the rules.
        taken_before: see `over_daily_limit`.
    """
    columns = [asked.column(name) for name in ("user_id", "request_id", "item_id")]
    keys = candidate_keys(*columns, dataset)
    answered_ms, issued_ms = numbers(asked, "answered_ms"), numbers(asked, "issued_ms", missing=-1)
    when = None
    if not knows_requests(dataset):
        when = np.where(issued_ms < 0, answered_ms, issued_ms)
    places = _find(store, keys, when)
    slates, row = _slates_at(store, places)
    places, row = _verified(places, row, slates, asked, dataset)
    consumed_keys = np.zeros(len(keys), np.uint64)
    found = row != ABSENT
    if slates is not None and found.any():
        of_slate = slates.take(pa.array(row[found]))
        consumed_keys[found] = keys_of(
            of_slate.column("user_id"),
            of_slate.column("request_id"),
            asked.column("item_id").filter(pa.array(found)),
        )
    window_ms = dataset.pair_window.hours * MS_PER_HOUR
    largest = max((len(segment.keys["candidate"]) for segment in store.segments), default=0)
    impression = np.where(
        places.segment == ABSENT, ABSENT, places.segment * (largest + 1) + places.candidate
    )
    reason = reject_answers(
        asked,
        impression,
        shown_ms=places.shown_ms,
        exposed=places.exposed,
        may_be_asked=places.may_be_asked,
        consumed=found & store.consumed(consumed_keys),
        window_ms=window_ms,
    )
    # No impression, but the question itself is older than the window.
    gone = (issued_ms >= 0) & (answered_ms - issued_ms > window_ms)
    reason[(reason == WITHOUT_IMPRESSION) & gone] = LATE
    reason[over_daily_limit(asked, reason == "", dataset, taken_before)] = OVER_DAILY_LIMIT
    counts = reason == ""
    answer = numbers(asked, "answer").astype(np.int64)
    arrivals = None
    if slates is not None and counts.any():
        arrivals = _arrivals(
            slates, row[counts], places.at[counts], answer[counts], answered_ms[counts]
        )
    return LateAnswers(
        reason,
        asked.column("user_id").filter(pa.array(counts)),
        answer[counts],
        arrivals,
        consumed_keys[counts],
        int(answered_ms[counts].max(initial=0)),
    )


def _find(store: ImpressionStore, keys: Keys, when: Ints | None) -> Places:
    """The candidate of each key; with `when`, the newest one shown until then."""
    count = len(keys)
    found = {
        name: np.full(count, ABSENT, np.int64)
        for name in ("segment", "candidate", "slate", "at", "shown_ms")
    }
    flags = {name: np.zeros(count, np.bool_) for name in ("exposed", "triggered")}
    for number, segment in enumerate(store.segments):
        known, shown = segment.keys["candidate"], segment.keys["candidate_ms"]
        start, end = (np.searchsorted(known, keys, side) for side in ("left", "right"))
        some = np.flatnonzero(end > start)
        if when is None:
            place = start[some]
        else:  # those of one key are in the order of time
            place = np.array(
                [
                    low + np.searchsorted(shown[low:high], moment, "right") - 1
                    for low, high, moment in zip(start[some], end[some], when[some], strict=True)
                ],
                np.int64,
            )
            early = place >= start[some]
            some, place = some[early], place[early]
        newer = shown[place] > found["shown_ms"][some]
        some, place = some[newer], place[newer]
        found["segment"][some], found["candidate"][some] = number, place
        found["shown_ms"][some] = shown[place]
        for name in ("slate", "at"):
            found[name][some] = segment.keys[f"candidate_{name}"][place]
        for name, flag in flags.items():
            flag[some] = segment.keys[f"candidate_{name}"][place]
    return Places(**found, exposed=flags["exposed"], may_be_asked=flags["triggered"])


def _slates_at(store: ImpressionStore, places: Places) -> tuple[pa.Table | None, Ints]:
    """The slates, each once, and the row there of each answer's slate."""
    row = np.full(len(places.slate), ABSENT, np.int64)
    tables: list[pa.Table] = []
    rows = 0
    has_slate = places.slate != ABSENT
    for number in np.unique(places.segment[has_slate]):
        here = np.flatnonzero(has_slate & (places.segment == number))
        wanted, which = np.unique(places.slate[here], return_inverse=True)
        tables.append(store.segments[number].slates(wanted))
        row[here] = rows + which
        rows += len(wanted)
    return (pa.concat_tables(tables).combine_chunks() if tables else None), row


def _verified(
    places: Places, row: Ints, slates: pa.Table | None, asked: pa.Table, dataset: DatasetConfig
) -> tuple[Places, Ints]:
    """Without the answers whose key is, by chance, that of another candidate."""
    if slates is None:
        return places, row
    found = np.flatnonzero(row != ABSENT)
    of_slate, of_asked = slates.take(pa.array(row[found])), take(asked, found)
    items = one_chunk(of_slate, "item_id")
    first = np.asarray(items.offsets)[:-1] - items.offsets[0].as_py()
    item = items.flatten().take(pa.array(first + places.at[found]))
    same = [pc.equal(item, one_chunk(of_asked, "item_id"))]
    names = ["user_id", "request_id"] if knows_requests(dataset) else ["user_id"]
    same += [pc.equal(one_chunk(of_slate, name), one_chunk(of_asked, name)) for name in names]
    other = found[~np.logical_and.reduce([each.to_numpy(zero_copy_only=False) for each in same])]
    segment, row = places.segment.copy(), row.copy()
    segment[other], row[other] = ABSENT, ABSENT
    return replace(places, segment=segment), row


def _arrivals(
    slates: pa.Table, row: Ints, at: Ints, answer: Ints, answered_ms: Ints
) -> pa.Table | None:
    """One row for each slate and moment with a usable answer; `row` and `at` say where each is."""
    moments: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, moment in enumerate(zip(row.tolist(), answered_ms.tolist(), strict=True)):
        moments[moment].append(number)
    usable = (answer == SATISFIED) | (answer == DISSATISFIED)
    moments = {moment: those for moment, those in moments.items() if usable[those].any()}
    if not moments:
        return None
    arrivals = take(slates, np.array([slate for slate, _ in moments])).combine_chunks()
    offsets = np.asarray(one_chunk(arrivals, "item_id").offsets)
    shown = np.full(offsets[-1], NOT_ANSWERED, np.int8)
    for start, those in zip(offsets[:-1], moments.values(), strict=True):
        shown[start + at[those]] = answer[those]
    place = arrivals.schema.get_field_index("answer")
    arrivals = arrivals.set_column(place, "answer", lists(offsets, shown))
    moment_ms = np.array([moment for _, moment in moments], np.int64)
    return arrivals.append_column("answered_ms", pa.array(moment_ms))
