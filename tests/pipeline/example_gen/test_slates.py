"""Slates of hand-made logs, computed by hand; what is rejected, and why."""

import pyarrow as pa
import pytest

from pipeline.example_gen.slates import build_slates
from pipeline.logs.dataset_config import DatasetConfig
from tests.pipeline.example_gen.small_logs import (
    FILES,
    HOUR,
    QUESTIONNAIRE,
    START,
    answer,
    config,
    impression,
    impressions_table,
    questionnaires_table,
    unexposed,
    users_table,
)

NONE, DISSATISFIED, UNCERTAIN, SATISFIED = -1, 0, 1, 2
NEVER = START + 10**6 * HOUR


def build(impressions, answers=(), *, users=None, split_hours=None, **changes):
    dataset = config(**changes)
    split = NEVER if split_hours is None else START + int(split_hours * HOUR)
    return build_slates(
        impressions_table(impressions),
        questionnaires_table(answers),
        users_table(users or {}),
        dataset,
        split_time_ms=split,
        file_names=FILES,
    )


def rejected(built, kind="impressions"):
    return {
        path[2]: number
        for path, number in built.counts.items()
        if path[:2] == (kind, "rejected") and number
    }


def letters(built):
    rows = built.dead_letters.select(["table", "file", "row", "reason"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def test_a_slate_with_all_its_columns():
    built = build(
        [
            impression("r1", "u1", "b", 1, position=2, behaviour_like=1, feature_match=0.25),
            unexposed("r1", "u1", "c", 1, position=3),
            impression("r1", "u1", "a", 1.5, position=1, behaviour_like=1, behaviour_follow=1),
        ],
        [answer("r1", "u1", "b", 2, SATISFIED)],
        users={"u1": 33.0},
    )
    (slate,) = built.slates.to_pylist()
    assert slate == {
        "request_id": "r1",
        "user_id": "u1",
        "time": START + HOUR,
        "user_train_slates": 1,
        "item_id": ["a", "b", "c"],
        "exposed": [1, 1, 0],
        "played_seconds": [8.0, 8.0, 0.0],
        "behaviour_like": [1, 1, 0],
        "behaviour_follow": [1, 0, 0],
        "behaviour_level": [2, 1, -1],
        "answer": [NONE, SATISFIED, NONE],
        "match": [0.5, 0.25, 0.5],
        "tab": "home",
        "age": 33.0,
    }
    assert built.counts["impressions", "used"] == 3
    assert built.counts["answers", "joined"] == built.counts["answers", "satisfied"] == 1
    assert letters(built) == []


def test_slates_are_in_the_order_of_user_time_and_request():
    rows = [
        impression(request, user, item, hours)
        for request, user, hours in (
            ("r9", "u2", 0),
            ("r2", "u1", 3),
            ("r3", "u1", 2),
            ("r1", "u1", 3),
        )
        for item in "ab"
    ]
    built = build(rows)
    assert built.slates.column("request_id").to_pylist() == ["r3", "r1", "r2", "r9"]
    assert built.slates.column("user_train_slates").to_pylist() == [3, 3, 3, 1]


def test_two_users_may_share_a_request_id():
    built = build([impression("r", user, item, 0) for user in ("u1", "u2") for item in "ab"])
    assert built.slates.column("user_id").to_pylist() == ["u1", "u2"]


def test_candidates_without_position_follow_in_the_order_of_the_log():
    built = build(
        [
            impression("r", "u", "late file", 0, _file=1),
            impression("r", "u", "second", 0, _row=9),
            impression("r", "u", "first", 0, _row=8),
            impression("r", "u", "positioned", 0, _row=10, position=5),
        ]
    )
    assert built.slates.column("item_id").to_pylist() == [
        ["positioned", "first", "second", "late file"]
    ]


def test_copies_and_repeated_items_are_counted_and_dropped():
    row = impression("r", "u", "a", 0)
    built = build(
        [
            row,
            row,
            unexposed("r", "u", "b", 0),
            impression("r", "u", "b", 0, behaviour_like=1),
            impression("r", "u", "b", 0.1),
        ]
    )
    assert built.slates.column("item_id").to_pylist() == [["a", "b"]]
    assert built.slates.column("behaviour_like").to_pylist() == [[0, 1]]
    assert rejected(built) == {"duplicate_row": 1, "repeated_item": 2}
    assert letters(built) == [
        ("impressions", "i0.parquet", 2, "duplicate_row"),
        ("impressions", "i0.parquet", 3, "repeated_item"),
        ("impressions", "i0.parquet", 5, "repeated_item"),
    ]


def test_slates_with_nothing_to_compare_are_rejected_unless_answered():
    built = build(
        [
            impression("alone", "u", "a", 0),
            impression("answered", "u", "a", 1),
            impression("unsure", "u", "a", 2),
            unexposed("unseen", "u", "a", 3),
            unexposed("unseen", "u", "b", 3),
        ],
        [answer("answered", "u", "a", 1, DISSATISFIED), answer("unsure", "u", "a", 2, UNCERTAIN)],
    )
    assert built.slates.column("request_id").to_pylist() == ["answered"]
    assert rejected(built) == {"slate_too_small": 2, "slate_not_exposed": 2}
    assert rejected(built, "slates") == {"slate_too_small": 2, "slate_not_exposed": 1}
    assert rejected(built, "answers") == {"answer_to_dropped_candidate": 1}
    assert built.counts["slates", "read"] == 4


def test_a_long_request_keeps_its_exposed_candidates_first():
    built = build(
        [
            unexposed("r", "u", "a", 0, position=1),
            impression("r", "u", "b", 0, position=2),
            unexposed("r", "u", "c", 0, position=3),
            impression("r", "u", "d", 0, position=4),
            unexposed("r", "u", "e", 0, position=5),
            impression("r", "u", "f", 0, position=6),
        ],
    )
    assert built.slates.column("item_id").to_pylist() == [["a", "b", "d", "f"]]
    assert rejected(built) == {"over_max_candidates": 2}
    assert [row for _, _, row, _ in letters(built)] == [3, 5]


def test_each_bad_answer_has_its_reason():
    slate = [
        impression("r", "u", "long", 1, played_s=7.0, duration_s=100.0),
        impression("r", "u", "short", 1, played_s=2.0, duration_s=4.0),
        impression("r", "u", "skipped", 1, played_s=6.9, duration_s=14.0),
        unexposed("r", "u", "unseen", 1),
    ]
    built = build(
        slate,
        [
            answer("r", "u", "long", 2, SATISFIED),
            answer("r", "u", "short", 2, UNCERTAIN),
            answer("r", "u", "long", 3, DISSATISFIED),
            answer("r", "u", "skipped", 2, SATISFIED),
            answer("r", "u", "unseen", 2, SATISFIED),
            answer("r", "u", "short", 0.5, SATISFIED),
            answer("r", "u", "unknown item", 2, SATISFIED),
            answer("other", "u", "long", 2, SATISFIED),
            answer("r", "somebody", "long", 2, SATISFIED),
            answer("r", "u", "long", 2, NONE, answered_ms=None),
        ],
    )
    assert built.slates.column("answer").to_pylist() == [[SATISFIED, UNCERTAIN, NONE, NONE]]
    assert rejected(built, "answers") == {
        "duplicate_answer": 1,
        "answer_before_trigger": 1,
        "answer_to_unexposed": 1,
        "answer_before_impression": 1,
        "answer_without_impression": 3,
    }
    assert built.counts["answers", "not_answered"] == 1
    assert built.counts["answers", "joined"] == 2
    assert ("questionnaires", "q0.parquet", 4, "answer_before_trigger") in letters(built)
    assert len(letters(built)) == 7


def test_more_answers_a_day_than_a_person_gives_are_left_out():
    # START is at 22:13 UTC, so that the day ends 1.78 hours later.
    items = "abcdefg"
    rows = [impression("r", user, item, 0) for user in "uv" for item in items]
    answers = [
        answer("r", "u", "a", 1.1, SATISFIED),
        answer("r", "u", "b", 1.0, UNCERTAIN),  # teaches nothing, and takes no place
        answer("r", "u", "c", 1.3, SATISFIED),  # the third
        answer("r", "u", "d", 1.2, DISSATISFIED),
        answer("r", "u", "e", 1.4, SATISFIED),
        answer("r", "u", "a", 1.05, SATISFIED),  # the earlier copy counts
        answer("r", "u", "f", 2.0, SATISFIED),  # the next day
        answer("r", "v", "g", 1.5, DISSATISFIED),  # somebody else
    ]
    built = build(
        rows,
        answers,
        slate={"max_candidates": 7, "min_candidates": 2},
        questionnaire=QUESTIONNAIRE | {"max_daily_answers": 2},
    )
    assert built.slates.column("answer").to_pylist() == [
        [SATISFIED, UNCERTAIN, NONE, DISSATISFIED, NONE, SATISFIED, NONE],
        [NONE] * 6 + [DISSATISFIED],
    ]
    assert rejected(built, "answers") == {"duplicate_answer": 1, "over_daily_limit": 2}
    assert [row for _, _, row, why in letters(built) if why == "over_daily_limit"] == [3, 5]


@pytest.mark.parametrize(
    ("hours", "late"), [(9.9, False), (10.0, True), (60, True)], ids=["before", "at", "after"]
)
def test_an_answer_to_a_training_slate_must_come_before_the_split(hours, late):
    rows = [impression("r", "u", item, 1) for item in "ab"]
    built = build(rows, [answer("r", "u", "a", hours, SATISFIED)], split_hours=10)
    assert built.counts["answers", "late"] == late
    assert built.counts["answers", "joined"] == (not late)
    assert built.slates.column("answer").to_pylist() == [[NONE if late else SATISFIED, NONE]]
    assert letters(built) == ([("questionnaires", "q0.parquet", 1, "late")] if late else [])


def test_an_answer_to_an_eval_slate_is_late_after_the_window():
    rows = [impression(r, "u", item, 20) for r in ("r1", "r2") for item in "ab"]
    answers = [answer("r1", "u", "a", 68, SATISFIED), answer("r2", "u", "a", 68.1, SATISFIED)]
    built = build(rows, answers, split_hours=10)
    assert built.counts["slates", "eval"] == 2
    assert built.slates.column("answer").to_pylist() == [[SATISFIED, NONE], [NONE, NONE]]
    assert built.counts["answers", "late"] == 1


def test_a_user_without_a_row_in_the_users_table_gets_the_default():
    built = build(
        [impression("r", user, item, 0) for user in ("known", "new") for item in "ab"],
        users={"known": 20.0},
    )
    assert built.slates.column("age").to_pylist() == [20.0, -1.0]
    assert built.counts["unknown", "users"] == 1


def test_likes_are_counted_in_the_training_period_only():
    built = build(
        [
            impression("r1", "u", "a", 0, behaviour_like=1),
            impression("r1", "u", "b", 0),
            impression("r2", "u", "a", 9.5, behaviour_like=1, behaviour_follow=1),
            impression("r2", "u", "b", 10.5, behaviour_like=1),
            impression("r3", "u", "a", 11, behaviour_like=1),
            impression("r3", "u", "b", 11, behaviour_like=1),
        ],
        split_hours=10,
    )
    assert built.liked.to_pylist() == [{"item_id": "a", "number": 2}]
    assert built.counts["slates", "train"] == 2


def test_pair_groups_end_with_their_anchor_and_hold_what_was_answered_before():
    hours = {"r1": 0, "r2": 1, "r3": 2, "r4": 3, "r5": 100}
    rows = [impression(r, "u", item, hours[r]) for r in hours for item in "ab"]
    rows += [impression("other", "v", item, 0) for item in "ab"]
    built = build(
        rows,
        [
            answer("r1", "u", "a", 5, SATISFIED),
            answer("r2", "u", "a", 4, DISSATISFIED),
            answer("r3", "u", "a", 6, SATISFIED),
            answer("r3", "u", "b", 7, DISSATISFIED),
            answer("r4", "u", "a", 8, UNCERTAIN),
            answer("r4", "u", "b", 9, SATISFIED),
            answer("r5", "u", "b", 101, DISSATISFIED),
            answer("other", "v", "b", 1, SATISFIED),
        ],
        split_hours=1000,
    )
    rows = built.answered.select(["request_id", "answered_ms", "group_size"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("r2", START + 4 * HOUR, 1),
        ("r1", START + 5 * HOUR, 2),
        ("r3", START + 6 * HOUR, 3),
        ("r3", START + 7 * HOUR, 3),
        ("r4", START + 9 * HOUR, 3),
        ("r5", START + 101 * HOUR, 1),
        ("other", START + HOUR, 1),
    ]
    # Each arrival shows its own answers only, not those before or after it.
    assert built.answered.column("answer").to_pylist() == [
        [DISSATISFIED, NONE],
        [SATISFIED, NONE],
        [SATISFIED, NONE],
        [NONE, DISSATISFIED],
        [NONE, SATISFIED],
        [NONE, DISSATISFIED],
        [NONE, SATISFIED],
    ]
    assert built.counts["pair_groups",] == 7
    assert built.counts["slates", "answered"] == 14
    # r1 with r2; r3's satisfied with r2, its dissatisfied with r1 and with its own satisfied; r4
    # with r3's dissatisfied. Of the groups of three, r1 no longer fits that of r4.
    assert built.counts["pairs", "same_user"] == 4
    assert built.counts["pairs", "in_request"] == 1


def test_answers_of_one_moment_arrive_together():
    rows = [impression("r", "u", item, 0) for item in "abc"]
    codes = {"a": SATISFIED, "b": DISSATISFIED, "c": UNCERTAIN}
    built = build(rows, [answer("r", "u", item, 1, code) for item, code in codes.items()])
    assert built.answered.column("answer").to_pylist() == [[SATISFIED, DISSATISFIED, UNCERTAIN]]
    assert built.counts["pair_groups",] == built.counts["pairs", "in_request"] == 1


def test_eval_slates_and_late_answers_make_no_pair_group():
    rows = [impression(r, "u", i, h) for r, h in (("r1", 1), ("r2", 11)) for i in "ab"]
    answers = [answer("r1", "u", "a", 11, SATISFIED), answer("r2", "u", "a", 12, SATISFIED)]
    built = build(rows, answers, split_hours=10)
    assert built.answered.num_rows == 0
    assert built.counts["pair_groups",] == 0


def test_answers_without_a_request_id_are_about_the_latest_impression_before_the_question():
    columns = {"user_id": "u", "item_id": "i", "answer": "answer"}
    columns |= {"issued": {"column": "t"}, "answered": {"column": "t2"}}
    answers = {"satisfied": ["yes"], "dissatisfied": ["no"]}
    rows = [impression(r, "u", i, h) for r, h in (("r1", 1), ("r2", 5)) for i in "ab"]
    built = build(
        rows,
        [
            answer(None, "u", "a", 5, SATISFIED, answered_ms=START + 6 * HOUR),
            answer(None, "u", "b", 4.9, DISSATISFIED, answered_ms=START + 6 * HOUR),
            answer(None, "u", "b", 0.5, DISSATISFIED),
            answer(None, "v", "b", 4, DISSATISFIED),
        ],
        questionnaire={"columns": columns, "answers": answers},
    )
    assert built.slates.select(["request_id", "answer"]).to_pylist() == [
        {"request_id": "r1", "answer": [NONE, DISSATISFIED]},
        {"request_id": "r2", "answer": [SATISFIED, NONE]},
    ]
    assert rejected(built, "answers") == {"answer_without_impression": 2}


def rebuilt_log(rows, stand_in, **slate):
    """A log without request ids whose answers are a behaviour, as KuaiRand's."""
    dataset = config().to_dict()
    dataset["columns"]["request_id"] = None
    dataset["slate"] = {"max_candidates": 4, "min_candidates": 2, **slate}
    dataset["questionnaire"] = {"from_behaviours": {"satisfied": "good", "dissatisfied": "bad"}}
    dataset["tables"]["questionnaires"] = None
    table = impressions_table(rows).append_column("answer", pa.array(stand_in, pa.int8()))
    return build_slates(
        table,
        None,
        users_table({}),
        DatasetConfig.from_dict(dataset),
        split_time_ms=NEVER,
        file_names={"impressions": FILES["impressions"]},
    )


def test_slates_rebuilt_from_time_with_answers_from_behaviours():
    rows = [
        impression(None, "u", "a", 0),
        impression(None, "u", "b", 0.4),
        impression(None, "u", "b", 0.4),
        impression(None, "u", "a", 0.8),
        impression(None, "u", "c", 2),
        impression(None, "u", "d", 2.2),
        impression(None, "v", "d", 2.2),
    ]
    built = rebuilt_log(
        rows,
        [NONE, DISSATISFIED, DISSATISFIED, SATISFIED, NONE, NONE, NONE],
        rebuild={"gap_minutes": 30},
    )
    assert built.slates.select(["user_id", "item_id", "answer"]).to_pylist() == [
        {"user_id": "u", "item_id": ["a", "b"], "answer": [SATISFIED, DISSATISFIED]},
        {"user_id": "u", "item_id": ["c", "d"], "answer": [NONE, NONE]},
    ]
    assert rejected(built) == {"duplicate_row": 1, "repeated_item": 1, "slate_too_small": 1}
    assert built.counts["answers", "read"] == built.counts["answers", "joined"] == 2


def test_no_rows_at_all():
    built = build([])
    assert built.slates.num_rows == built.answered.num_rows == built.liked.num_rows == 0
    assert (
        built.slates.column_names
        == build([impression("r", "u", item, 0) for item in "ab"]).slates.column_names
    )


def test_answers_of_users_without_impressions():
    built = build([], [answer("r", "u", "a", 0, SATISFIED), answer("r", "u", "a", 0, NONE)])
    assert rejected(built, "answers") == {"answer_without_impression": 1}
    assert built.counts["answers", "not_answered"] == 1
