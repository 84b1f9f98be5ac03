"""The slates of some users: join, trigger rule, slates, labels and pair groups, all by columns.

`build_slates` takes everything the log holds about a set of users and needs nothing about any
other user, so a log of any size is built shard by shard, a shard being any set of whole users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.example_gen.answers import (
    LATE,
    MS_PER_HOUR,
    TO_DROPPED,
    WITHOUT_IMPRESSION,
    CandidateRows,
    JoinedAnswers,
    TakenBefore,
    join_answers,
    stand_in_answers,
)
from pipeline.example_gen.candidates import (
    beyond_width,
    copies,
    in_log_order,
    order_in_slates,
    repeated_items,
    rows_at,
    slates_of_requests,
    with_requests,
)
from pipeline.example_gen.columnar import (
    ABSENT,
    Ints,
    lists,
    look_up_text,
    numbers,
    one_chunk,
    position_in_run,
    starts_of_runs,
    take,
)
from pipeline.example_gen.counts import Counts
from pipeline.example_gen.pair_groups import pair_groups
from pipeline.logs.canonical import (
    DISSATISFIED,
    NOT_ANSWERED,
    SATISFIED,
    UNCERTAIN,
    behaviour_column,
    feature_column,
)
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.dead_letters import dead_letters
from pipeline.logs.feature_config import FeatureConfig

# Why a row of the impressions table is not a candidate.
DUPLICATE_ROW = "duplicate_row"
REPEATED_ITEM = "repeated_item"
SLATE_NOT_EXPOSED = "slate_not_exposed"
SLATE_TOO_SMALL = "slate_too_small"
OVER_MAX_CANDIDATES = "over_max_candidates"
# A row's or slate's code is a place in this list; 0 is a row that is used.
_REASONS = (
    "",
    DUPLICATE_ROW,
    REPEATED_ITEM,
    SLATE_NOT_EXPOSED,
    SLATE_TOO_SMALL,
    OVER_MAX_CANDIDATES,
)
_IDS = ("user_id", "item_id")


@dataclass(frozen=True)
class BuiltSlates:
    """What the log says about some users.

    Attributes:
        slates: one row a slate, by user, time and request: the columns of the example except
            those read from the items table and `popularity`.
        answered: the arrivals of usable answers to training slates, by user and `answered_ms`:
            the slate with these answers only, and `group_size` of the pair group that ends there.
        liked: `item_id` and `number`: exposures in training with a behaviour level of 1 or more.
        counts: what became of every row.
        dead_letters: the rejected rows.
        rows: the candidates of `slates`, in that order.
        unmatched: the answers whose impression is elsewhere; see `build_slates`.
    """

    slates: pa.Table
    answered: pa.Table
    liked: pa.Table
    counts: Counts
    dead_letters: pa.Table
    rows: CandidateRows
    unmatched: pa.Table


def with_distinct_requests(
    impressions: pa.Table, config: DatasetConfig
) -> tuple[pa.Table, pa.Table]:
    """The rows in the order of the log, each with its request id, and the copies among them."""
    impressions = in_log_order(impressions)
    copied = copies(impressions)
    distinct = take(impressions, ~copied)
    if config.columns.request_id is None:
        distinct = with_requests(distinct, config.slate)
    return distinct, take(impressions, copied)


def build_slates(
    impressions: pa.Table,
    questionnaires: pa.Table | None,
    users: pa.Table | None,
    config: DatasetConfig,
    *,
    split_time_ms: int,
    file_names: Mapping[str, tuple[str, ...]],
) -> BuiltSlates:
    """Builds the slates of some users. The result does not depend on the order of any rows.

    Args:
        impressions: all canonical rows of these users, see `pipeline.logs.readers`.
        questionnaires: all canonical rows of these users; None where answers are read from
            behaviours.
        users: canonical rows of at least these users; None where there is no such table.
        config: the dataset.
        split_time_ms: slates from here on are for evaluation, those before for training.
        file_names: for `impressions` and `questionnaires`, what `_file` counts through.
    """
    distinct, duplicates = with_distinct_requests(impressions, config)
    built = build_distinct_slates(
        distinct,
        questionnaires,
        users,
        config,
        split_time_ms=split_time_ms,
        file_names=file_names,
    )
    if not duplicates.num_rows:
        return built
    reasons = [DUPLICATE_ROW] * duplicates.num_rows
    counts: Counts = Counter(built.counts)
    _count_reasons(counts, ("impressions", "rejected"), reasons)
    letters = row_letters("impressions", duplicates, reasons, file_names)
    together = pa.concat_tables([letters, built.dead_letters])
    return replace(built, counts=counts, dead_letters=together)


def build_distinct_slates(
    impressions: pa.Table,
    questionnaires: pa.Table | None,
    users: pa.Table | None,
    config: DatasetConfig,
    *,
    split_time_ms: int,
    file_names: Mapping[str, tuple[str, ...]],
    impressions_elsewhere: bool = False,
    taken_before: TakenBefore | None = None,
) -> BuiltSlates:
    """Like `build_slates`, of rows as `with_distinct_requests` makes them.

    Args:
        impressions, questionnaires, users, config, split_time_ms, file_names: see `build_slates`.
        impressions_elsewhere: there are other impressions of these users too. An answer whose
            impression is not here is then neither counted nor a dead letter but `unmatched`.
        taken_before: see `answers.over_daily_limit`.
    """
    counts: Counts = Counter()
    if questionnaires is None:
        questionnaires = stand_in_answers(impressions)
        counts["answers", "read"] += questionnaires.num_rows
        file_names = {**file_names, "questionnaires": file_names["impressions"]}

    everything = slates_of_requests(impressions)
    why = np.zeros(impressions.num_rows, np.int8)
    why[repeated_items(everything)] = _REASONS.index(REPEATED_ITEM)
    at = order_in_slates(everything)
    at = at[why[at] == 0]
    rows = rows_at(everything, at)
    joined = join_answers(
        questionnaires, rows, config, split_time_ms=split_time_ms, taken_before=taken_before
    )
    elsewhere = (joined.reason == WITHOUT_IMPRESSION) & impressions_elsewhere
    unmatched = take(questionnaires, elsewhere)
    if elsewhere.any():
        questionnaires, joined = take(questionnaires, ~elsewhere), joined.at(~elsewhere)

    rejected_slates = _rejected_slates(rows, joined, config)
    row_why = rejected_slates[rows.slate]
    exposed = numbers(rows.table, "exposed")
    too_many = beyond_width(rows.slate, exposed, config.slate.max_candidates)
    row_why[too_many & (row_why == 0)] = _REASONS.index(OVER_MAX_CANDIDATES)
    why[at] = row_why
    joined = _without_dropped(joined, row_why)

    kept = np.flatnonzero(row_why == 0)
    rows, answer, answered_ms = _with_answers(rows, joined, kept)
    starts = starts_of_runs(rows.slate)
    slates = _slate_table(rows, starts, answer, config, split_time_ms)
    if users is not None:
        slates, unknown = _with_users(slates, users, config)
        counts["unknown", "users"] += unknown
    trains = numbers(slates, "time") < split_time_ms
    answered, pairs = _answered_slates(slates, rows, answer, answered_ms, config, split_time_ms)
    counts.update(pairs)
    counts["slates", "read"] += len(rejected_slates)
    counts["slates", "train"] += int(trains.sum())
    counts["slates", "eval"] += int((~trains).sum())
    counts["impressions", "used"] += len(kept)
    _count_reasons(counts, ("slates", "rejected"), _reasons(rejected_slates))
    rejected = _reasons(why)
    _count_reasons(counts, ("impressions", "rejected"), rejected)
    _count_answers(counts, joined)
    lost = take(impressions, why != 0)
    unjoined = take(questionnaires, joined.reason != "")
    return BuiltSlates(
        slates,
        answered,
        _liked(rows, slates, trains, split_time_ms),
        counts,
        pa.concat_tables(
            [
                row_letters("impressions", lost, rejected, file_names),
                row_letters("questionnaires", unjoined, _texts(joined.reason), file_names),
            ]
        ),
        rows,
        unmatched,
    )


def _reasons(codes: np.ndarray) -> list[str]:
    return [_REASONS[code] for code in codes[codes != 0]]


def _texts(reasons: np.ndarray) -> list[str]:
    return reasons[reasons != ""].tolist()


def _rejected_slates(
    rows: CandidateRows, joined: JoinedAnswers, config: DatasetConfig
) -> np.ndarray:
    """The reason's code for each slate, 0 for those that are used."""
    count = len(rows.slate_time)
    size = np.bincount(rows.slate, minlength=count)
    exposed = np.bincount(rows.slate[numbers(rows.table, "exposed")], minlength=count)
    usable = joined.counts & (joined.answer != UNCERTAIN)
    answers = np.bincount(rows.slate[joined.row[usable]], minlength=count)
    code = np.zeros(count, np.int8)
    code[(size < config.slate.min_candidates) & (answers == 0)] = _REASONS.index(SLATE_TOO_SMALL)
    code[exposed == 0] = _REASONS.index(SLATE_NOT_EXPOSED)
    return code


def _without_dropped(joined: JoinedAnswers, row_why: np.ndarray) -> JoinedAnswers:
    reason = joined.reason.copy()
    counting = np.flatnonzero(joined.counts)
    reason[counting[row_why[joined.row[counting]] != 0]] = TO_DROPPED
    return replace(joined, reason=reason)


def _with_answers(
    rows: CandidateRows, joined: JoinedAnswers, kept: Ints
) -> tuple[CandidateRows, Ints, Ints]:
    """The candidates that are used, with each one's answer and when it was given."""
    answer = np.full(len(rows.slate), NOT_ANSWERED, np.int64)
    answered_ms = np.full(len(rows.slate), ABSENT, np.int64)
    counting = joined.counts
    answer[joined.row[counting]] = joined.answer[counting]
    answered_ms[joined.row[counting]] = joined.answered_ms[counting]
    if len(kept) == len(rows.slate):
        return rows, answer, answered_ms
    return rows_at(rows, kept), answer[kept], answered_ms[kept]


def _slate_table(
    rows: CandidateRows, starts: Ints, answer: Ints, config: DatasetConfig, split_time_ms: int
) -> pa.Table:
    """One row a slate; `rows` are in the order of the slates, which begin at `starts`."""
    table = rows.table
    offsets = np.append(starts, len(rows.slate))
    user = rows.user[starts]
    time = rows.slate_time[rows.slate[starts]]
    train_slates = np.bincount(user[time < split_time_ms], minlength=len(rows.users))
    columns: dict[str, Any] = {
        "request_id": rows.requests.take(pa.array(rows.request[starts])),
        "user_id": rows.users.take(pa.array(user)),
        "time": time,
        "user_train_slates": train_slates[user],
        "item_id": lists(offsets, rows.items.take(pa.array(rows.item))),
        "exposed": lists(offsets, numbers(table, "exposed").astype(np.int8)),
        "played_seconds": lists(offsets, _played(table)),
        "behaviour_level": lists(offsets, behaviour_level(table, config)),
        "answer": lists(offsets, answer.astype(np.int8)),
    }
    for name in config.behaviours.columns:
        column = behaviour_column(name)
        columns[column] = lists(offsets, one_chunk(table, column))
    if config.columns.true_satisfaction is not None:
        columns["true_satisfaction"] = lists(offsets, one_chunk(table, "true_satisfaction"))
    for feature in config.features_of("impressions"):
        if feature.name in _IDS:
            continue
        values = one_chunk(table, feature_column(feature.name))
        if feature.level == "candidate":
            columns[feature.name] = lists(offsets, values)
        else:
            columns[feature.name] = values.take(pa.array(starts))
    return pa.table(columns)


def _with_users(slates: pa.Table, users: pa.Table, config: DatasetConfig) -> tuple[pa.Table, int]:
    """The features of the users table, and for how many slates it has no row."""
    at = look_up_text(slates.column("user_id"), one_chunk(users, "id"))
    for feature in config.features_of("users"):
        if feature.name not in _IDS:
            slates = slates.append_column(feature.name, feature_values(users, feature, at))
    return slates, int((at == ABSENT).sum())


def feature_values(table: pa.Table, feature: FeatureConfig, at: Ints) -> pa.Array:
    """A feature of a users or items table by row; its default where the row is `ABSENT`."""
    values = one_chunk(table, feature_column(feature.name))
    found = values.take(pa.array(at, mask=at == ABSENT))
    return found.fill_null(pa.scalar(feature.default, values.type))


def behaviour_level(impressions: pa.Table, config: DatasetConfig) -> np.ndarray:
    """int8 `[rows]`: how many positive behaviours, at most `max_level`; −1 where not exposed."""
    level = np.zeros(impressions.num_rows, np.int8)
    for name in config.behaviours.positive:
        level += numbers(impressions, behaviour_column(name)).astype(np.int8)
    level = np.minimum(level, config.behaviours.max_level)
    return np.where(numbers(impressions, "exposed"), level, np.int8(-1))


def _played(impressions: pa.Table) -> np.ndarray:
    return numbers(impressions, "played_s", missing=0.0).astype(np.float32)


def _answered_slates(
    slates: pa.Table,
    rows: CandidateRows,
    answer: Ints,
    answered_ms: Ints,
    config: DatasetConfig,
    split_time_ms: int,
) -> tuple[pa.Table, Counts]:
    """The arrivals of usable answers to training slates, and their pair groups."""
    starts = starts_of_runs(rows.slate)
    sizes = np.diff(np.append(starts, len(answer)))
    number = np.repeat(np.arange(len(starts)), sizes)
    usable = (answer == SATISFIED) | (answer == DISSATISFIED)
    usable &= rows.slate_time[rows.slate] < split_time_ms
    found = np.flatnonzero(usable)
    found = found[np.lexsort((number[found], answered_ms[found], rows.user[found]))]
    arrivals = starts_of_runs(number[found], answered_ms[found])
    slate, time = number[found][arrivals], answered_ms[found][arrivals]
    of_arrival = np.repeat(np.arange(len(arrivals)), np.diff(np.append(arrivals, len(found))))
    satisfied = np.bincount(of_arrival[answer[found] == SATISFIED], minlength=len(arrivals))
    dissatisfied = np.bincount(of_arrival[answer[found] == DISSATISFIED], minlength=len(arrivals))
    groups = pair_groups(
        rows.user[found][arrivals],
        slate,
        time,
        satisfied,
        dissatisfied,
        window_ms=config.pair_window.hours * MS_PER_HOUR,
        max_slates=config.pair_window.max_slates,
    )
    # Of a slate's answers an arrival shows only its own.
    candidates = np.repeat(starts[slate], sizes[slate]) + position_in_run(
        np.cumsum(sizes[slate]) - sizes[slate], int(sizes[slate].sum())
    )
    own = answered_ms[candidates] == np.repeat(time, sizes[slate])
    shown = np.where(own, answer[candidates], NOT_ANSWERED).astype(np.int8)
    offsets = np.append(0, np.cumsum(sizes[slate]))
    answered = take(slates, slate)
    at = answered.schema.get_field_index("answer")
    answered = answered.set_column(at, "answer", lists(offsets, shown))
    answered = answered.append_column("answered_ms", pa.array(time))
    answered = answered.append_column("group_size", pa.array(groups.size))
    counts: Counts = Counter()
    counts["pair_groups",] += len(arrivals)
    counts["slates", "answered"] += int(groups.size.sum())
    counts["pairs", "same_user"] += groups.same_user_pairs
    counts["pairs", "in_request"] += groups.in_request_pairs
    return answered, counts


def _liked(
    rows: CandidateRows, slates: pa.Table, trains: np.ndarray, split_time_ms: int
) -> pa.Table:
    """Exposures in training with a positive behaviour, by item."""
    level = one_chunk(slates, "behaviour_level").flatten().to_numpy()
    sizes = np.diff(np.asarray(one_chunk(slates, "behaviour_level").offsets))
    liked = (level >= 1) & np.repeat(trains, sizes)
    liked &= numbers(rows.table, "time_ms") < split_time_ms
    number = np.bincount(rows.item[liked], minlength=len(rows.items))
    some = np.flatnonzero(number)
    return pa.table({"item_id": rows.items.take(pa.array(some)), "number": number[some]})


def _count_reasons(counts: Counts, path: tuple[str, ...], reasons: list[str]) -> None:
    for reason, number in Counter(reasons).items():
        counts[(*path, reason)] += number


def _count_answers(counts: Counts, joined: JoinedAnswers) -> None:
    counting = joined.counts
    counts["answers", "joined"] += int(counting.sum())
    counts["answers", "not_answered"] += int((joined.answer == NOT_ANSWERED).sum())
    for name, code in (
        ("satisfied", SATISFIED),
        ("dissatisfied", DISSATISFIED),
        ("uncertain", UNCERTAIN),
    ):
        counts["answers", name] += int((counting & (joined.answer == code)).sum())
    late = joined.reason == LATE
    counts["answers", "late"] += int(late.sum())
    _count_reasons(counts, ("answers", "rejected"), _texts(joined.reason[~late]))


def row_letters(
    name: str, rows: pa.Table, reasons: Sequence[str], file_names: Mapping[str, tuple[str, ...]]
) -> pa.Table:
    """Dead letters of canonical rows of the impressions or questionnaires table."""
    letters = dead_letters(
        name,
        [file_names[name][index] for index in numbers(rows, "_file")],
        numbers(rows, "_row"),
        reasons,
        rows.select(["request_id", "user_id", "item_id"]).to_pylist(),
    )
    return pa.Table.from_batches([letters])
