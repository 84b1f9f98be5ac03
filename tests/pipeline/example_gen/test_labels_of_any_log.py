"""What holds for the labels of any log: who may have one, and whom it is compared with.

That what happens later changes no earlier example is in `test_slates_of_any_log`: any two futures
leave what came before as it is without one. What does follow the future, by what it is: the split
time (a share of the whole log), `popularity` and `user_train_slates`, which only the evaluation
reads, and in the split train the answers given later, which no training step reads there.
"""

import numpy as np
from hypothesis import given, settings

from pipeline.example_gen.pair_groups import members
from pipeline.example_gen.slates import build_slates
from tests.pipeline.example_gen.any_log import CONFIG, WINDOW, logs
from tests.pipeline.example_gen.small_logs import (
    FILES,
    HOUR,
    START,
    impressions_table,
    questionnaires_table,
    users_table,
)

LAST_MS = START + 1000 * HOUR


def build(rows, asked):
    return build_slates(
        impressions_table(rows),
        questionnaires_table(asked),
        users_table({}),
        CONFIG,
        split_time_ms=LAST_MS,
        file_names=FILES,
    )


def labelled(slates):
    """(user, request, item, answer) of every answered candidate."""
    return [
        (slate["user_id"], slate["request_id"], item, code)
        for slate in slates.to_pylist()
        for item, code in zip(slate["item_id"], slate["answer"], strict=True)
        if code >= 0
    ]


def may_be_asked(row):
    """Shown, and watched for 7 seconds or half its length: the rule of the paper, written out."""
    watched = row["played_s"] >= 7 or (
        row["duration_s"] > 0 and row["played_s"] >= 0.5 * row["duration_s"]
    )
    return row["exposed"] and watched


@settings(max_examples=60)
@given(logs())
def test_a_label_is_an_answer_given_after_the_impression_was_watched(log):
    rows, asked = log
    built = build(rows, asked)
    watched = {}
    for row in rows:
        if may_be_asked(row):
            ids = row["user_id"], row["request_id"], row["item_id"]
            watched.setdefault(ids, []).append(row["time_ms"])
    for *ids, code in labelled(built.slates) + labelled(built.answered):
        assert tuple(ids) in watched
        given_ms = [
            row["answered_ms"]
            for row in asked
            if [row["user_id"], row["request_id"], row["item_id"], row["answer"]] == [*ids, code]
        ]
        assert given_ms
        assert max(given_ms) >= min(watched[tuple(ids)])


@settings(max_examples=60)
@given(logs())
def test_a_pair_group_is_of_one_user_and_within_the_window(log):
    built = build(*log)
    arrivals = built.answered.select(["user_id", "answered_ms"]).to_pylist()
    size = built.answered["group_size"].to_numpy()
    of_group = {}
    for arrival, group in zip(*members(size, np.arange(len(size))), strict=True):
        of_group.setdefault(int(group), []).append(arrivals[arrival])
    for anchor, group in of_group.items():
        assert {one["user_id"] for one in group} == {arrivals[anchor]["user_id"]}
        newest = arrivals[anchor]["answered_ms"]
        for one in group:
            assert newest - WINDOW["hours"] * HOUR <= one["answered_ms"] <= newest
        assert len(group) <= WINDOW["max_slates"]
