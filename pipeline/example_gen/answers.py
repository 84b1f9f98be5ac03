"""Questionnaire answers to the impressions they are about: the join and what makes one count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.example_gen.columnar import (
    ABSENT,
    Bools,
    Ints,
    look_up,
    look_up_text,
    numbers,
    position_in_run,
    starts_of_runs,
    take,
    text_ranks,
)
from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED
from pipeline.logs.dataset_config import DatasetConfig, Trigger

MS_PER_HOUR = 3_600_000
MS_PER_DAY = 24 * MS_PER_HOUR

# What becomes of an answer that does not train or evaluate. The first that applies is its reason.
WITHOUT_IMPRESSION = "answer_without_impression"
TO_UNEXPOSED = "answer_to_unexposed"
BEFORE_IMPRESSION = "answer_before_impression"
BEFORE_TRIGGER = "answer_before_trigger"
DUPLICATE = "duplicate_answer"
LATE = "late"
OVER_DAILY_LIMIT = "over_daily_limit"
TO_DROPPED = "answer_to_dropped_candidate"

# Rows of the questionnaires table to `[answers]`: how many usable answers of the same user and day
# were taken before, elsewhere.
TakenBefore = Callable[[pa.Table], Ints]


@dataclass(frozen=True)
class CandidateRows:
    """The impressions that answers can be about: one row a candidate, in any order.

    Attributes:
        table: their canonical columns.
        users, requests, items: the different ids; a row holds numbers into these.
        user, request, item: `[rows]`. `request` numbers texts, not slates.
        slate: `[rows]`, which slate of the caller.
        slate_time: ms `[slates]`.
    """

    table: pa.Table
    users: pa.Array
    requests: pa.Array
    items: pa.Array
    user: Ints
    request: Ints
    item: Ints
    slate: Ints
    slate_time: Ints


@dataclass(frozen=True)
class JoinedAnswers:
    """What became of each row of the questionnaires table.

    Attributes:
        row: `[answers]`, the candidate row it is about; `ABSENT` where there is none.
        answer: `[answers]`, its code.
        answered_ms: `[answers]`.
        reason: `[answers]` text; "" for an answer that counts.
    """

    row: Ints
    answer: Ints
    answered_ms: Ints
    reason: np.ndarray

    @property
    def counts(self) -> Bools:
        """Mask of the answers that count."""
        return (self.reason == "") & (self.answer != NOT_ANSWERED)

    def at(self, rows: Bools) -> JoinedAnswers:
        """Those of some rows of the questionnaires table."""
        return JoinedAnswers(
            self.row[rows], self.answer[rows], self.answered_ms[rows], self.reason[rows]
        )


def join_answers(
    questionnaires: pa.Table,
    candidates: CandidateRows,
    config: DatasetConfig,
    *,
    split_time_ms: int,
    taken_before: TakenBefore | None = None,
) -> JoinedAnswers:
    """Finds each answer's candidate and decides whether the answer counts.

    An answer is late if it came more than the pair window after the impression, or if its slate
    is for training and it came when training was over (`split_time_ms`).

    Args:
        questionnaires: canonical columns.
        candidates: all candidates of the same users.
        config: trigger rule, pair window and daily limit.
        split_time_ms: slates from here on are for evaluation.
        taken_before: see `over_daily_limit`; none by default.
    """
    answer = numbers(questionnaires, "answer").astype(np.int64)
    answered = numbers(questionnaires, "answered_ms")
    row = _candidate_row(questionnaires, candidates, knows_requests(config))
    table, at = candidates.table, np.maximum(row, 0)
    if not table.num_rows:
        reason = np.where(answer == NOT_ANSWERED, "", WITHOUT_IMPRESSION).astype(object)
        return JoinedAnswers(row, answer, answered, reason)
    reason = reject_answers(
        questionnaires,
        row,
        shown_ms=numbers(table, "time_ms")[at],
        exposed=numbers(table, "exposed", missing=True)[at],
        may_be_asked=triggered(table, config.trigger)[at],
        consumed=np.zeros(len(row), np.bool_),
        window_ms=config.pair_window.hours * MS_PER_HOUR,
    )
    trains = candidates.slate_time[candidates.slate[at]] < split_time_ms
    too_late = trains & (answered >= split_time_ms)
    reason[(answer != NOT_ANSWERED) & (reason == "") & too_late] = LATE
    reason[over_daily_limit(questionnaires, reason == "", config, taken_before)] = OVER_DAILY_LIMIT
    return JoinedAnswers(row, answer, answered, reason)


def reject_answers(
    questionnaires: pa.Table,
    row: Ints,
    *,
    shown_ms: Ints,
    exposed: Bools,
    may_be_asked: Bools,
    consumed: Bools,
    window_ms: float,
) -> np.ndarray:
    """Why each answer does not count: text `[answers]`, "" where it does or nothing was answered.

    Args:
        questionnaires: canonical columns.
        row: `[answers]`, a number of the impression it is about; `ABSENT` where there is none.
        shown_ms, exposed, may_be_asked: `[answers]`, of that impression: when it was shown,
            whether at all, and whether it was played enough. Any value where it is absent.
        consumed: `[answers]`, whether an answer about it was used before.
        window_ms: an answer that comes later after the impression is late.
    """
    answered = numbers(questionnaires, "answered_ms")
    given = numbers(questionnaires, "answer") != NOT_ANSWERED
    reason = np.full(len(row), "", dtype=object)

    def reject(where: Bools, why: str) -> None:
        reason[given & (reason == "") & where] = why

    reject(row == ABSENT, WITHOUT_IMPRESSION)
    reject(~exposed, TO_UNEXPOSED)
    reject(answered < shown_ms, BEFORE_IMPRESSION)
    reject(~may_be_asked, BEFORE_TRIGGER)
    valid = given & (reason == "")
    reject(consumed | _repeated(row, answered, questionnaires, valid), DUPLICATE)
    reject(answered - shown_ms > window_ms, LATE)
    return reason


def over_daily_limit(
    questionnaires: pa.Table,
    counts: Bools,
    config: DatasetConfig,
    taken_before: TakenBefore | None,
) -> Bools:
    """Which answers are more than one person gives in a day: `[answers]`.

    A few accounts that answer all day long would otherwise outvote everybody else: answers are
    that rare. The first of a day (UTC) are kept; Uncertain, which nothing learns, is not counted.

    Args:
        questionnaires: canonical columns.
        counts: `[answers]`, those without another reason not to count.
        config: `questionnaire.max_daily_answers`.
        taken_before: what to add to the number of each user and day.
    """
    limit = config.questionnaire.max_daily_answers
    answer = numbers(questionnaires, "answer")
    usable = np.flatnonzero(counts & ((answer == SATISFIED) | (answer == DISSATISFIED)))
    over = np.zeros(len(counts), np.bool_)
    if limit is None or not len(usable):
        return over
    asked = take(questionnaires, usable)
    user, answered = text_ranks(asked.column("user_id"))[0], numbers(asked, "answered_ms")
    day = answered // MS_PER_DAY
    order = np.lexsort((numbers(asked, "_row"), numbers(asked, "_file"), answered, user))
    number = position_in_run(starts_of_runs(user[order], day[order]), len(order))
    if taken_before is not None:
        number = number + taken_before(asked)[order]
    over[usable[order[number >= limit]]] = True
    return over


def knows_requests(config: DatasetConfig) -> bool:
    """Whether answers say which request they are about (a stand-in's do: they are its rows)."""
    columns = config.questionnaire.columns
    return columns is None or columns.request_id is not None


def stand_in_answers(impressions: pa.Table) -> pa.Table:
    """The questionnaires table of a log whose answers are read from its behaviours.

    Each impression with an `answer` becomes a question issued and answered when it was shown.
    """
    asked = take(impressions, numbers(impressions, "answer") != NOT_ANSWERED)
    time = asked.column("time_ms")
    columns = asked.select(["request_id", "user_id", "item_id", "answer", "_file", "_row"])
    return columns.append_column("issued_ms", time).append_column("answered_ms", time)


def triggered(impressions: pa.Table, trigger: Trigger) -> Bools:
    """Which impressions may be asked about: played long enough, or a large enough share of it."""
    played = numbers(impressions, "played_s", missing=0.0)
    duration = numbers(impressions, "duration_s", missing=0.0)
    long_enough = played >= trigger.min_played_seconds
    return long_enough | ((duration > 0) & (played >= trigger.min_played_fraction * duration))


def _candidate_row(asked: pa.Table, candidates: CandidateRows, by_request: bool) -> Ints:
    user = look_up_text(asked.column("user_id"), candidates.users)
    item = look_up_text(asked.column("item_id"), candidates.items)
    if by_request:
        request = look_up_text(asked.column("request_id"), candidates.requests)
        return _row_of_request(user, request, item, candidates)
    when = numbers(asked, "issued_ms", missing=ABSENT)
    return _latest_row(
        user, item, np.where(when < 0, numbers(asked, "answered_ms"), when), candidates
    )


def _row_of_request(user: Ints, request: Ints, item: Ints, candidates: CandidateRows) -> Ints:
    # Two lookups of pairs, as one number for user, request and item might not fit 64 bits.
    requests, items = max(len(candidates.requests), 1), max(len(candidates.items), 1)
    pairs, pair_of_row = np.unique(
        candidates.user * requests + candidates.request, return_inverse=True
    )
    pair = look_up(user * requests + request, pairs)
    cell_of_row = pair_of_row * items + candidates.item
    order = np.argsort(cell_of_row, kind="stable")
    known = (user != ABSENT) & (request != ABSENT) & (item != ABSENT) & (pair != ABSENT)
    at = look_up(np.where(known, pair * items + item, ABSENT), cell_of_row[order])
    return np.where(known & (at != ABSENT), order[at], ABSENT) if len(order) else at


def _latest_row(user: Ints, item: Ints, when: Ints, candidates: CandidateRows) -> Ints:
    """The user's latest impression of the item at or before `when`."""
    rows = len(candidates.user)
    all_user = np.concatenate([candidates.user, user])
    all_item = np.concatenate([candidates.item, item])
    time = np.concatenate([numbers(candidates.table, "time_ms"), when])
    is_asked = np.arange(len(time)) >= rows
    # Impressions come before the questions of the same moment; the last one before a question,
    # if it is of the same user and item, is the one asked about.
    order = np.lexsort((is_asked, time, all_item, all_user))
    latest = np.maximum.accumulate(np.where(is_asked[order], -1, np.arange(len(order))))
    asked_at = np.flatnonzero(is_asked[order])
    found = latest[asked_at]
    impression = order[np.maximum(found, 0)]
    question = order[asked_at]
    same = (
        (found >= 0)
        & (all_user[impression] == all_user[question])
        & (all_item[impression] == all_item[question])
        & (all_user[question] != ABSENT)
        & (all_item[question] != ABSENT)
    )
    row = np.full(len(user), ABSENT, np.int64)
    row[question - rows] = np.where(same, impression, ABSENT)
    return row


def _repeated(row: Ints, answered: Ints, asked: pa.Table, valid: Bools) -> Bools:
    """All but the earliest of the valid answers about the same candidate."""
    place = (numbers(asked, "_row"), numbers(asked, "_file"))
    order = np.lexsort((*place, answered, ~valid, row))
    repeated = np.zeros(len(row), np.bool_)
    same = (row[order][1:] == row[order][:-1]) & valid[order][1:] & valid[order][:-1]
    repeated[order[1:][same]] = True
    return repeated
