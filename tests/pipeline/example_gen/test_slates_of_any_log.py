"""What holds for any log: equal to a plain loop over rows, no lost row, no look into the future."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.example_gen_row_by_row import UserSlates
from pipeline.example_gen.counts import counts_report
from pipeline.example_gen.slates import build_slates
from tests.pipeline.example_gen.any_log import CONFIG, HOURS, USERS, WINDOW, logs
from tests.pipeline.example_gen.small_logs import (
    FILES,
    HOUR,
    START,
    answer,
    config,
    impressions_table,
    questionnaires_table,
    users_table,
)

SPLITS = st.integers(0, 13).map(lambda step: START + step * 5 * HOUR)


def build(rows, asked, split_time_ms):
    return build_slates(
        impressions_table(rows),
        questionnaires_table(asked),
        users_table({"u1": 20.0, "u2": 30.0}),
        CONFIG,
        split_time_ms=split_time_ms,
        file_names=FILES,
    )


def slate_rows(table, *without):
    return [
        {name: value for name, value in row.items() if name not in without}
        for row in table.to_pylist()
    ]


@settings(max_examples=60)
@given(logs(), SPLITS)
def test_it_is_what_a_loop_over_the_rows_of_each_user_makes(log, split_time_ms):
    rows, asked = log
    built = build(rows, asked, split_time_ms)
    slates, groups, liked, counts = [], [], Counter(), Counter()
    for user in USERS:
        peer = UserSlates(
            [row for row in rows if row["user_id"] == user],
            [row for row in asked if row["user_id"] == user],
            CONFIG,
            split_time_ms,
        )
        slates += peer.slates
        groups += [
            (slate, len(members))
            for (_, members), (_, slate) in zip(peer.groups(), peer.arrivals, strict=True)
        ]
        liked += peer.liked
        counts += peer.counts
    assert slate_rows(built.slates, "age") == slates
    assert slate_rows(built.answered, "age", "answered_ms") == [
        {**slate, "group_size": size} for slate, size in groups
    ]
    assert {row["item_id"]: row["number"] for row in built.liked.to_pylist()} == liked
    known = {path: number for path, number in built.counts.items() if number}
    for path in [path for path in known if path[0] in ("pairs", "pair_groups", "unknown")]:
        del known[path]
    del_answered = known.pop(("slates", "answered"), 0)
    assert known == counts
    assert del_answered == sum(size for _, size in groups)


@settings(max_examples=30)
@given(logs(), SPLITS)
def test_every_row_is_used_or_rejected(log, split_time_ms):
    rows, asked = log
    built = build(rows, asked, split_time_ms)
    read = Counter({("impressions", "read"): len(rows), ("answers", "read"): len(asked)})
    report = counts_report(built.counts + read, split_time_ms=split_time_ms, features=())
    candidates = sum(len(items) for items in built.slates.column("item_id").to_pylist())
    assert report["impressions"]["used"] == candidates
    rejected = report["impressions"]["rejected"], report["answers"]["rejected"]
    lost = sum(sum(reasons.values()) for reasons in rejected) + report["answers"]["late"]
    assert built.dead_letters.num_rows == lost
    letters = built.dead_letters.select(["table", "file", "row"])
    assert len({tuple(row.values()) for row in letters.to_pylist()}) == lost


@settings(max_examples=30)
@given(logs(), SPLITS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(log, split_time_ms, random):
    rows, asked = log
    built = build(rows, asked, split_time_ms)
    random.shuffle(rows)
    random.shuffle(asked)
    again = build(rows, asked, split_time_ms)
    assert again.slates.equals(built.slates)
    assert again.answered.equals(built.answered)
    assert again.liked.equals(built.liked)
    assert again.counts == built.counts


@settings(max_examples=30)
@given(logs(), SPLITS, st.sets(st.sampled_from(USERS)))
def test_users_can_be_built_apart(log, split_time_ms, apart):
    rows, asked = log
    whole = build(rows, asked, split_time_ms)
    parts = [
        build(
            [row for row in rows if (row["user_id"] in apart) == inside],
            [row for row in asked if (row["user_id"] in apart) == inside],
            split_time_ms,
        )
        for inside in (True, False)
    ]
    for name in ("slates", "answered"):
        together = pa.concat_tables([getattr(part, name) for part in parts])
        together = together.sort_by([("user_id", "ascending")])
        assert together.equals(getattr(whole, name))
    summed = sum((part.counts for part in parts), Counter())
    assert summed == +whole.counts


# Known only afterwards: what the user did and said, and a count for the evaluation alone.
OUTCOMES = ("answer", "user_train_slates")


@st.composite
def two_futures(draw):
    """A moment, a log until then, and the log with the events that followed."""
    now = START + draw(HOURS) * HOUR
    rows, asked = draw(logs())
    past = [row for row in rows if row["time_ms"] <= now]
    past_asked = [row for row in asked if row["answered_ms"] <= now]
    # A request is served at one moment: later rows belong to other requests.
    future = [
        {**row, "request_id": row["request_id"] + " later"} for row in rows if row["time_ms"] > now
    ]
    future_asked = [row for row in asked if row["answered_ms"] > now]
    for row in past:
        for code in draw(st.lists(st.sampled_from([0, 2]), max_size=1)):
            ids = row["request_id"], row["user_id"], row["item_id"]
            hours = (now - START) / HOUR + draw(st.sampled_from([1, 10]))
            number = 100 + len(future_asked)
            future_asked.append({**answer(*ids, hours, code), "_row": number})
    return now, (past, past_asked), (past + future, past_asked + future_asked)


@settings(max_examples=60)
@given(two_futures())
def test_what_happens_later_changes_no_earlier_example(futures):
    now, before, after = futures
    dataset = config(slate={"max_candidates": 40, "min_candidates": 1}, pair_window=WINDOW)
    built_before, built_after = (
        build_slates(
            impressions_table(rows),
            questionnaires_table(asked),
            users_table({}),
            dataset,
            split_time_ms=START + 1000 * HOUR,
            file_names=FILES,
        )
        for rows, asked in (before, after)
    )
    slates = built_after.slates
    earlier = slates.filter(pc.less_equal(slates["time"], now))
    assert slate_rows(earlier, *OUTCOMES) == slate_rows(built_before.slates, *OUTCOMES)
    answered = built_after.answered
    arrived = answered.filter(pc.less_equal(answered["answered_ms"], now))
    assert slate_rows(arrived, OUTCOMES[1]) == slate_rows(built_before.answered, OUTCOMES[1])
