"""What holds for any log, cut into spans anyhow: nothing lost, nothing twice, as in one go."""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.example_gen.columnar import take
from pipeline.example_gen.examples import order_in_time
from pipeline.example_gen.pair_groups import members
from pipeline.example_gen.slates import build_slates
from pipeline.online import segment_merge
from pipeline.online.keys import held_out
from tests.pipeline.example_gen.any_log import CONFIG, USERS, logs
from tests.pipeline.example_gen.small_logs import (
    FILES,
    HOUR,
    START,
    impressions_table,
    questionnaires_table,
    users_table,
)
from tests.pipeline.example_gen.written import files_under
from tests.pipeline.online.span_folders import anchors, answers_in, learn, records, write_span

AGES = {"u1": 20.0, "u2": 30.0}


def is_held_out(user, fraction):
    return bool(held_out(pa.chunked_array([[user]]), fraction)[0])


@st.composite
def answered_logs(draw):
    """A log of one file in which every question is answered."""
    rows, asked = draw(logs())
    rows = [{**row, "_file": 0} for row in rows]
    return rows, [row for row in asked if row["answer"] >= 0]


def in_one_go(rows, asked):
    numbered = [{**row, "_row": number} for number, row in enumerate(rows, start=1)]
    return build_slates(
        impressions_table(numbered),
        questionnaires_table(asked),
        users_table(AGES),
        CONFIG,
        split_time_ms=1 << 62,
        file_names=FILES,
    )


def in_spans(folder, rows, asked, span_of_request, span_of_answer):
    """Writes the log into as many spans as the two say; requests are never cut."""
    first = defaultdict(lambda: 1 << 62)
    for row in rows:
        request = row["user_id"], row["request_id"]
        first[request] = min(first[request], row["time_ms"])
    parts = defaultdict(lambda: ([], []))
    for row in rows:
        request = row["user_id"], row["request_id"]
        parts[span_of_request(request, first[request])][0].append(row)
    for row in asked:
        parts[span_of_answer(row)][1].append(row)
    return [
        write_span(folder, f"span={number}", *parts[number], users=AGES) for number in sorted(parts)
    ]


def in_order(folder, rows, asked, cuts):
    """The log cut at these times."""
    return in_spans(
        folder,
        rows,
        asked,
        lambda _, time: int(np.searchsorted(cuts, time, "right")),
        lambda row: int(np.searchsorted(cuts, row["answered_ms"], "right")),
    )


def groups_in_one_go(built):
    """Each record of the answered split: group, its time, and the slate."""
    answered = built.answered
    order = order_in_time(answered, "answered_ms")
    rows, group = members(answered["group_size"].to_numpy(), order)
    times = answered["answered_ms"].to_numpy()[order][group]
    slates = take(answered, rows).to_pylist() if len(rows) else []
    return [
        (int(number), int(time), {name: slate[name] for name in SHOWN})
        for number, time, slate in zip(group, times, slates, strict=True)
    ]


SHOWN = ("user_id", "request_id", "item_id", "answer", "exposed", "behaviour_level", "match", "tab")


def as_shown(record):
    lists = ("item_id", "answer", "exposed", "behaviour_level", "match")
    values = {
        name: [value.decode() if isinstance(value, bytes) else value for value in record[name]]
        for name in SHOWN
    }
    slate = {name: value if name in lists else value[0] for name, value in values.items()}
    return record["pair_group"][0], record["group_time"][0], slate


CUTS = st.sets(st.integers(-1, 25), max_size=4).map(
    lambda steps: np.array(sorted(START + step * 5 * HOUR for step in steps), np.int64)
)


# Many segments of the store are merged; here many are two.
MERGED_ABOVE = st.sampled_from([256, 1])


def merging_above(segments):
    return mock.patch.multiple(segment_merge, MOST_SEGMENTS=segments, MERGED_TOGETHER=2)


@settings(max_examples=25)
@given(answered_logs(), CUTS, MERGED_ABOVE)
def test_spans_in_the_order_of_time_make_the_groups_of_the_whole_log(log, cuts, segments):
    rows, asked = log
    expected = groups_in_one_go(in_one_go(rows, asked))
    with tempfile.TemporaryDirectory() as name, merging_above(segments):
        folder = Path(name)
        spans = in_order(folder, rows, asked, cuts)
        learn(folder, spans, CONFIG)
        assert [as_shown(record) for record in records(folder, spans, "answered")] == expected


@settings(max_examples=25)
@given(
    answered_logs(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.4]), MERGED_ABOVE
)
def test_each_answer_trains_once_wherever_it_lands(log, random, holdout, segments):
    rows, asked = log
    # Of several answers about one impression, the one that lands first counts: keep one.
    once = {(row["user_id"], row["request_id"], row["item_id"]): row for row in asked}
    asked = list(once.values())
    built = in_one_go(rows, asked)
    expected = Counter(
        answer
        for slate in built.answered.to_pylist()
        for answer in (
            (slate["user_id"], slate["request_id"], item, code)
            for item, code in zip(slate["item_id"], slate["answer"], strict=True)
            if code in (0, 2)
        )
    )
    with tempfile.TemporaryDirectory() as name, merging_above(segments):
        folder = Path(name)
        places = defaultdict(lambda: random.randrange(4))
        spans = in_spans(
            folder, rows, asked, lambda request, _: places[request], lambda _: random.randrange(4)
        )
        reports = learn(folder, spans, CONFIG, holdout=holdout)
        trained = Counter(
            answer
            for record in anchors(folder, spans)
            for answer in answers_in(record)
            if answer[3] != 1
        )
        held = Counter(
            answer
            for split in ("holdout", "holdout_late")
            for record in records(folder, spans, split)
            for answer in answers_in(record)
            if answer[3] != 1
        )
    held_users = {user for user in USERS if is_held_out(user, holdout)}
    assert {answer[0] for answer in held} <= held_users
    assert not {answer[0] for answer in trained} & held_users
    assert trained + held == expected
    totals = Counter()
    for report in reports:
        totals.update({name: n for name, n in report["answers"].items() if name != "rejected"})
        totals["rejected"] += sum(report["answers"]["rejected"].values())
    assert totals["read"] == len(asked)
    assert totals["trained"] == sum(trained.values())
    used = ("trained", "holdout", "uncertain", "late_rejected", "duplicates", "rejected")
    still = reports[-1]["answers"]["waiting"] if reports else 0
    assert sum(totals[name] for name in used) + still == len(asked)


@settings(max_examples=8)
@given(answered_logs(), CUTS)
def test_a_span_done_again_leaves_the_same_bytes(log, cuts):
    rows, asked = log
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spans = in_order(folder, rows, asked, cuts)
        learn(folder, spans, CONFIG, holdout=0.4)
        first = {path: data for path, data in files_under(folder).items() if "spans/" not in path}
        learn(folder, spans, CONFIG, holdout=0.4)
        again = {path: data for path, data in files_under(folder).items() if "spans/" not in path}
        assert again == first
