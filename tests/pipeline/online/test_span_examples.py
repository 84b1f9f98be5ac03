"""Spans by hand: what each holds, what the next one knows of it, and what becomes of bad input."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.logs.errors import LogError
from pipeline.online import segment_merge
from pipeline.online.impression_store import ImpressionStore, StoreLimits, remove_old_stores
from pipeline.online.keys import held_out
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span, SpanError
from tests.pipeline.example_gen.small_logs import (
    HOUR,
    QUESTIONNAIRE,
    START,
    answer,
    config,
    impression,
    unexposed,
)
from tests.pipeline.example_gen.written import examples_in, files_under
from tests.pipeline.online.span_folders import anchors, answers_in, learn, records, write_span

DISSATISFIED, UNCERTAIN, SATISFIED = 0, 1, 2
CONFIG = config()


def request(name, hours, user="u", **changes):
    """Two rows, of items a and b."""
    return [impression(name, user, item, hours, **changes) for item in "ab"]


def letters(folder, name, table):
    path = folder / name / "dead_letters" / f"{table}-00000.parquet"
    return [(row["file"], row["row"], row["reason"]) for row in pq.read_table(path).to_pylist()]


def test_a_late_answer_trains_with_the_features_of_its_impression(tmp_path):
    first = write_span(
        tmp_path, "1", request("r1", 0, feature_match=0.25), [], items={"a": "then"},
        users={"u": 20.0},
    )  # fmt: skip
    second = write_span(
        tmp_path, "2", request("r2", 5), [answer("r1", "u", "b", 6, DISSATISFIED)],
        items={"a": "now"}, users={"u": 21.0},
    )  # fmt: skip
    reports = learn(tmp_path, [first, second], CONFIG)
    (shown,) = examples_in(tmp_path / "1", "train")
    (late,) = examples_in(tmp_path / "2", "answered")
    assert late == {
        **shown,
        "answer": [-1, DISSATISFIED],
        "pair_group": [0],
        "group_time": [START + 6 * HOUR],
    }
    assert late["author"] == [b"then", b""]
    assert reports[1]["answers"]["late_used"] == reports[1]["answers"]["trained"] == 1


def test_its_group_holds_the_user_s_earlier_answers(tmp_path):
    spans = [
        write_span(tmp_path, "1", request("r1", 0), [answer("r1", "u", "a", 1, SATISFIED)]),
        write_span(tmp_path, "2", request("r2", 5), [answer("r2", "u", "a", 6, SATISFIED)]),
        write_span(tmp_path, "3", request("r3", 9), [answer("r2", "u", "b", 10, DISSATISFIED)]),
        write_span(tmp_path, "4", request("r4", 60), [answer("r3", "u", "b", 50, SATISFIED)]),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    members = [
        (record["pair_group"][0], record["request_id"][0], record["answer"])
        for record in records(tmp_path, spans, "answered")
    ]
    assert members == [
        (0, b"r1", [SATISFIED, -1]),
        (1, b"r1", [SATISFIED, -1]),
        (1, b"r2", [SATISFIED, -1]),
        (2, b"r1", [SATISFIED, -1]),
        (2, b"r2", [SATISFIED, -1]),
        (2, b"r2", [-1, DISSATISFIED]),
        # Two days later only what was answered in these two days, and at most two of that.
        (3, b"r2", [SATISFIED, -1]),
        (3, b"r2", [-1, DISSATISFIED]),
        (3, b"r3", [-1, SATISFIED]),
    ]
    assert [report["pair_groups"] for report in reports] == [1, 1, 1, 1]
    pairs = [report["pairs"] for report in reports]
    assert [pair["same_user"] for pair in pairs] == [0, 0, 1, 1]
    assert [pair["in_request"] for pair in pairs] == [0, 0, 1, 0]
    assert ImpressionStore.open(tmp_path / "4-store", CONFIG).pair_groups == 4


def test_an_answer_is_used_once_whatever_lands_again(tmp_path):
    asked = answer("r1", "u", "a", 1, SATISFIED)
    spans = [
        write_span(tmp_path, "1", request("r1", 0), [asked]),
        write_span(tmp_path, "2", request("r2", 5), [asked, answer("r1", "u", "b", 2, UNCERTAIN)]),
        write_span(tmp_path, "3", request("r3", 9), [answer("r1", "u", "b", 3, SATISFIED)]),
        write_span(tmp_path, "4", request("r1", 0) + request("r4", 9), [asked]),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    assert [report["answers"]["duplicates"] for report in reports] == [0, 1, 1, 1]
    assert [report["answers"]["uncertain"] for report in reports] == [0, 1, 0, 0]
    assert [answers_in(record) for record in anchors(tmp_path, spans)] == [
        [("u", "r1", "a", SATISFIED)]
    ]
    # The rows of a request that landed before are not trained again either.
    assert reports[3]["impressions"]["rejected"] == {"request_of_earlier_span": 2}
    assert reports[3]["slates"]["train"] == 1
    assert [reason for _, _, reason in letters(tmp_path, "4", "impressions")] == [
        "request_of_earlier_span"
    ] * 2


def test_an_answer_may_land_before_its_impression(tmp_path):
    spans = [
        write_span(tmp_path, "1", request("r1", 0), [answer("r2", "u", "b", 6, SATISFIED)]),
        write_span(tmp_path, "2", request("r2", 5), []),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    assert [report["answers"]["waiting"] for report in reports] == [1, 0]
    assert [report["answers"]["waited"] for report in reports] == [0, 1]
    (record,) = anchors(tmp_path, spans)
    assert answers_in(record) == [("u", "r2", "b", SATISFIED)]
    assert record["group_time"] == [START + 6 * HOUR]
    (slate,) = examples_in(tmp_path / "2", "train")
    assert slate["answer"] == [-1, SATISFIED]


def test_an_answer_to_nothing_waits_as_long_as_rows_may_be_late(tmp_path):
    spans = [
        write_span(tmp_path, "1", request("r1", 0), [answer("gone", "u", "a", 0, SATISFIED)]),
        write_span(tmp_path, "2", request("r2", 9), []),
        write_span(tmp_path, "3", request("r3", 11), []),
    ]
    reports = learn(tmp_path, spans, CONFIG, limits=StoreLimits(delay_hours=10))
    assert [report["answers"]["waiting"] for report in reports] == [1, 1, 0]
    assert reports[2]["answers"]["rejected"] == {"answer_without_impression": 1}
    assert letters(tmp_path, "3", "questionnaires") == [
        ("1/questionnaires.parquet", 1, "answer_without_impression")
    ]


def test_only_so_many_answers_wait_and_the_oldest_leave(tmp_path):
    asked = [answer("gone", "u", item, hours, SATISFIED) for hours, item in enumerate("abc")]
    span = write_span(tmp_path, "1", request("r1", 0), asked)
    (report,) = learn(tmp_path, [span], CONFIG, limits=StoreLimits(max_waiting=2))
    assert report["answers"]["waiting"] == 2
    waiting = ImpressionStore.open(tmp_path / "1-store", CONFIG).waiting
    assert waiting["item_id"].to_pylist() == ["b", "c"]
    assert letters(tmp_path, "1", "questionnaires") == [
        ("1/questionnaires.parquet", 1, "answer_without_impression")
    ]


def test_older_than_the_window_is_late_whether_or_not_the_impression_is_still_there(tmp_path):
    spans = [
        write_span(tmp_path, "1", request("r1", 0), []),
        write_span(tmp_path, "2", request("r2", 49), [answer("r1", "u", "a", 49, SATISFIED)]),
        write_span(tmp_path, "3", request("r3", 200), []),
        write_span(
            tmp_path, "4", request("r4", 201),
            [{**answer("r1", "u", "b", 1, SATISFIED), "answered_ms": START + 201 * HOUR}],
        ),
    ]  # fmt: skip
    reports = learn(tmp_path, spans, CONFIG, limits=StoreLimits(delay_hours=24))
    assert [report["answers"]["late_rejected"] for report in reports] == [0, 1, 0, 1]
    assert reports[2]["store"]["expired_spans"] == 2
    assert reports[3]["answers"]["waiting"] == 0


def test_late_answers_are_judged_as_answers_in_time_are(tmp_path):
    rows = [
        *request("r1", 5),
        unexposed("r1", "u", "c", 5),
        impression("r1", "u", "d", 5, played_s=1.0),
    ]
    asked = [
        answer("r1", "u", "a", 4, SATISFIED),  # before it was shown
        answer("r1", "u", "b", 9, SATISFIED),
        answer("r1", "u", "b", 8, DISSATISFIED),  # this one came first
        answer("r1", "u", "c", 9, SATISFIED),  # never shown
        answer("r1", "u", "d", 9, SATISFIED),  # hardly played
        answer("r1", "v", "a", 9, SATISFIED),  # another user's
    ]
    spans = [
        write_span(tmp_path, "1", rows, []),
        write_span(tmp_path, "2", request("r2", 9), asked),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    assert reports[1]["answers"]["rejected"] == {"answer_before_impression": 1}
    assert reports[1]["answers"]["duplicates"] == 1
    assert reports[1]["answers"]["waiting"] == 3  # to what nobody was asked about
    (record,) = anchors(tmp_path, spans)
    assert answers_in(record) == [("u", "r1", "b", DISSATISFIED)]


def test_the_daily_limit_holds_over_all_spans_of_the_day(tmp_path):
    limited = config(questionnaire=QUESTIONNAIRE | {"max_daily_answers": 2})
    spans = [
        write_span(tmp_path, "1", request("r1", 2), [answer("r1", "u", "a", 2.1, SATISFIED)]),
        # One of its own span and one of the span before: the second of the day, and one too many.
        write_span(
            tmp_path, "2", request("r2", 3),
            [answer("r2", "u", "a", 3.1, DISSATISFIED), answer("r1", "u", "b", 3.2, SATISFIED)],
        ),
        write_span(tmp_path, "3", request("r3", 4), [answer("r3", "u", "a", 4.1, SATISFIED)]),
        write_span(
            tmp_path, "4", request("r4", 4) + request("r5", 26, user="v"),
            [answer("r4", "u", "a", 26.1, SATISFIED), answer("r5", "v", "a", 26.1, SATISFIED)],
        ),
    ]  # fmt: skip
    reports = learn(tmp_path, spans, limited)
    over = [report["answers"]["rejected"].get("over_daily_limit", 0) for report in reports]
    assert over == [0, 1, 1, 0]
    used = [answers_in(record) for record in anchors(tmp_path, spans)]
    assert used == [
        [("u", "r1", "a", SATISFIED)],
        [("u", "r2", "a", DISSATISFIED)],
        [("u", "r4", "a", SATISFIED)],
        [("v", "r5", "a", SATISFIED)],
    ]


def test_a_slate_too_small_to_learn_from_may_still_be_answered(tmp_path):
    spans = [
        write_span(tmp_path, "1", [impression("alone", "u", "a", 0)], []),
        write_span(tmp_path, "2", request("r2", 5), [answer("alone", "u", "a", 5, SATISFIED)]),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    assert reports[0]["slates"]["rejected"] == {"slate_too_small": 1}
    assert reports[0]["impressions"] == {"read": 1, "used": 0, "rejected": {"slate_too_small": 1}}
    (record,) = anchors(tmp_path, spans)
    assert answers_in(record) == [("u", "alone", "a", SATISFIED)]


def test_held_out_users_are_kept_apart_late_answers_included(tmp_path):
    users = [f"user {number}" for number in range(40)]
    held = held_out(pa.chunked_array([users]), 0.3)
    out = {user for user, kept in zip(users, held, strict=True) if kept}
    assert 4 <= len(out) <= 20
    shown = [row for user in users for row in request(f"of {user}", 0, user)]
    later = [row for user in users for row in request(f"next of {user}", 5, user)]
    spans = [
        write_span(
            tmp_path, "1", shown, [answer(f"of {user}", user, "a", 1, SATISFIED) for user in users]
        ),
        write_span(
            tmp_path, "2", later,
            [answer(f"of {user}", user, "b", 6, DISSATISFIED) for user in users],
        ),
    ]  # fmt: skip
    reports = learn(tmp_path, spans, CONFIG, holdout=0.3)

    def users_in(split):
        return {record["user_id"][0].decode() for record in records(tmp_path, spans, split)}

    assert users_in("train") == users_in("answered") == set(users) - out
    assert users_in("holdout") == users_in("holdout_late") == out
    first = next(examples_in(tmp_path / "1", "holdout"))
    assert first["answer"] == [SATISFIED, -1]
    late = list(examples_in(tmp_path / "2", "holdout_late"))
    assert all(record["answer"] == [-1, DISSATISFIED] for record in late)
    assert all(record["request_id"][0].startswith(b"of ") for record in late)
    for report in reports:
        assert report["answers"]["holdout"] == len(out)
        assert report["answers"]["trained"] == len(users) - len(out)
    assert [report["slates"]["holdout_late"] for report in reports] == [0, len(out)]


def test_popularity_and_a_user_s_slates_are_those_of_the_spans_before(tmp_path):
    spans = [
        write_span(tmp_path, "1", request("r1", 0, behaviour_like=1), []),
        write_span(tmp_path, "2", request("r2", 5, behaviour_like=1) + request("r3", 6), []),
        write_span(tmp_path, "3", request("r4", 9) + request("r5", 9, user="v"), []),
    ]
    learn(tmp_path, spans, CONFIG)
    seen = [
        (record["popularity"], record["user_train_slates"])
        for record in records(tmp_path, spans, "train")
    ]
    assert seen == [
        ([0, 0], [0]),
        ([1, 1], [1]),
        ([1, 1], [1]),
        ([2, 2], [3]),
        ([2, 2], [0]),
    ]


def test_an_empty_span_passes_everything_on(tmp_path):
    first = write_span(tmp_path, "1", request("r1", 0), [])
    nothing = tmp_path / "spans" / "2"
    nothing.mkdir()
    (nothing / "_SUCCESS").touch()
    for table in ("users", "items"):
        pq.write_table(
            pq.read_table(first.path / f"{table}.parquet"), tmp_path / f"spans/{table}.parquet"
        )
    third = write_span(tmp_path, "3", [], [])
    fourth = write_span(tmp_path, "4", request("r4", 5), [answer("r1", "u", "a", 6, SATISFIED)])
    reports = learn(tmp_path, [first, Span.at(nothing), third, fourth], CONFIG)
    for report in reports[1:3]:
        assert report["impressions"]["read"] == report["slates"]["train"] == 0
        assert report["newest_ms"] is None
    for name in ("2", "3"):
        assert list(examples_in(tmp_path / name, "train")) == []
    assert reports[3]["answers"]["late_used"] == 1
    done = ImpressionStore.open(tmp_path / "4-store", CONFIG).processed
    assert [span.name for span in done] == ["1", "2", "3", "4"]


def test_a_span_of_answers_only(tmp_path):
    first = write_span(tmp_path, "1", request("r1", 0), [])
    second = write_span(tmp_path, "2", [], [answer("r1", "u", "a", 6, SATISFIED)])
    (second.path / "impressions0.parquet").unlink()
    reports = learn(tmp_path, [first, second], CONFIG)
    assert reports[1]["answers"]["trained"] == 1


def test_files_of_no_table_are_no_empty_span(tmp_path):
    span = write_span(tmp_path, "1", request("r1", 0), [])
    (span.path / "impressions0.parquet").rename(span.path / "impresions.parquet")
    with pytest.raises(LogError, match=r"no file matches tables\.impressions.*impresions"):
        learn(tmp_path, [span], CONFIG)


def test_a_span_out_of_order_is_taken_and_says_so(tmp_path):
    spans = [
        write_span(tmp_path, "2", request("r2", 5), [answer("r1", "u", "a", 6, SATISFIED)]),
        write_span(tmp_path, "1", request("r1", 0), [answer("r2", "u", "a", 7, DISSATISFIED)]),
    ]
    reports = learn(tmp_path, spans, CONFIG)
    assert [report["span"]["out_of_order"] for report in reports] == [False, True]
    assert sorted(answers_in(record)[0] for record in anchors(tmp_path, spans)) == [
        ("u", "r1", "a", SATISFIED),
        ("u", "r2", "a", DISSATISFIED),
    ]
    assert ImpressionStore.open(tmp_path / "1-store", CONFIG).clock_ms == START + 7 * HOUR


def test_a_span_that_lands_twice(tmp_path):
    span = write_span(tmp_path, "1", request("r1", 0), [])
    learn(tmp_path, [span], CONFIG)
    before, after = tmp_path / "1-store", tmp_path / "after"
    with pytest.raises(SpanError, match="was learnt already"):
        write_span_examples(span, CONFIG, before, tmp_path / "again", after)
    copy = write_span(tmp_path, "2", request("r1", 0), [])
    with pytest.raises(SpanError, match="holds the same files as 1"):
        write_span_examples(copy, CONFIG, before, tmp_path / "again", after)
    write_span(tmp_path, "1", request("r1", 0) + request("r2", 1), [])
    with pytest.raises(SpanError, match="its files changed after it was learnt; put them back"):
        write_span_examples(span, CONFIG, before, tmp_path / "again", after)
    assert not after.exists()


def test_a_half_written_file_or_another_schema_stops_the_span_and_leaves_no_store(tmp_path):
    span = write_span(tmp_path, "1", request("r1", 0), [])
    file = span.path / "impressions0.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LogError, match="cut off or damaged"):
        learn(tmp_path, [span], CONFIG)
    file.write_bytes(whole)
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["like"]), file)
    with pytest.raises(LogError, match="column like: no such column"):
        learn(tmp_path, [span], CONFIG)
    texts = pa.array(["soon"] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index("like"), "like", texts), file)
    with pytest.raises(LogError, match="column like: is of type string"):
        learn(tmp_path, [span], CONFIG)
    assert not (tmp_path / "1-store").exists()
    assert not (tmp_path / "1" / "counts.json").exists()


def test_a_store_of_other_features_is_refused(tmp_path):
    span = write_span(tmp_path, "1", request("r1", 0), [])
    learn(tmp_path, [span], CONFIG)
    other = CONFIG.to_dict()
    other["features"][-1]["name"] = "fit"
    with pytest.raises(SpanError, match="other features than the dataset config"):
        ImpressionStore.open(tmp_path / "1-store", type(CONFIG).from_dict(other))
    with pytest.raises(SpanError, match="holds no impression store"):
        ImpressionStore.open(tmp_path, CONFIG)
    (tmp_path / "1-store" / "store.json").write_text("{")
    with pytest.raises(SpanError, match="is damaged"):
        ImpressionStore.open(tmp_path / "1-store", CONFIG)


def test_rows_of_another_time_than_their_dated_span(tmp_path):
    # START is 2023-11-14 22:13:20 UTC.
    rows = request("r1", 0) + request("future", 4) + request("past", -3) + request("slow", -2)
    asked = [answer("r1", "u", "a", 3.9, SATISFIED), answer("r1", "u", "b", 0.1, SATISFIED)]
    span = write_span(tmp_path, "2023-11-14T22", rows, asked)
    (report,) = learn(tmp_path, [span], CONFIG, limits=StoreLimits(delay_hours=2))
    assert report["impressions"]["rejected"] == {"time_outside_span": 4}
    assert report["answers"]["rejected"] == {"time_outside_span": 1}
    assert report["slates"]["train"] == 2
    # A clock that goes wrong does not make the store forget.
    assert report["newest_ms"] == START + 0.1 * HOUR
    assert len(letters(tmp_path, "2023-11-14T22", "impressions")) == 4


def test_rows_of_another_time_than_most_of_their_numbered_span(tmp_path):
    rows = [row for number in range(50) for row in request(f"r{number}", number / 10)]
    span = write_span(tmp_path, "1", rows + request("skewed", 10_000), [])
    (report,) = learn(tmp_path, [span], CONFIG, limits=StoreLimits(delay_hours=1))
    assert report["impressions"]["rejected"] == {"time_outside_span": 2}
    assert report["newest_ms"] == START + 4.9 * HOUR


def test_without_request_ids_an_answer_is_about_the_latest_impression_of_the_item(tmp_path):
    values = CONFIG.to_dict()
    values["columns"]["request_id"] = None
    values["questionnaire"]["columns"]["request_id"] = None
    values["slate"]["rebuild"] = {"gap_minutes": 30}
    dataset = type(CONFIG).from_dict(values)
    spans = [
        write_span(tmp_path, "1", request(None, 0), []),
        write_span(
            tmp_path, "2", [*request(None, 5), impression(None, "u", "c", 5, played_s=1)], []
        ),
        write_span(
            tmp_path, "3", request(None, 9),
            [
                answer(None, "u", "a", 4, SATISFIED),
                answer(None, "u", "b", 6, DISSATISFIED),
                answer(None, "u", "c", 6, SATISFIED),
            ],
        ),
    ]  # fmt: skip
    reports = learn(tmp_path, spans, dataset)
    found = [(record["time"][0], answers_in(record)) for record in anchors(tmp_path, spans)]
    assert found == [
        (START, [("u", f"u/{START}", "a", SATISFIED)]),
        (START + 5 * HOUR, [("u", f"u/{START + 5 * HOUR}", "b", DISSATISFIED)]),
    ]
    assert reports[2]["answers"]["rejected"] == {"answer_before_trigger": 1}


def test_a_full_store_lets_the_oldest_spans_go(tmp_path):
    spans = [write_span(tmp_path, str(n), request(f"r{n}", n), []) for n in range(1, 5)]
    (one,) = learn(tmp_path, spans[:1], CONFIG)
    size = one["store"]["bytes"]
    reports = learn(tmp_path, spans, CONFIG, limits=StoreLimits(100_000, max_bytes=size * 5 // 2))
    assert [report["store"]["spans"] for report in reports] == [1, 2, 2, 2]
    assert [report["store"]["dropped_slates"] for report in reports] == [0, 0, 1, 1]
    files = files_under(tmp_path / "4-store")
    assert {name.partition(".")[0] for name in files if name.startswith("span-")} == {
        "span-3",
        "span-4",
    }
    assert json.loads(files["store.json"])["segments"][0]["number"] == 3


def test_many_segments_become_few_and_nothing_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_merge, "MOST_SEGMENTS", 3)
    monkeypatch.setattr(segment_merge, "MERGED_TOGETHER", 2)
    spans = [
        write_span(tmp_path, str(n), request(f"r{n}", n), [answer(f"r{n}", "u", "a", n, SATISFIED)])
        for n in range(1, 8)
    ]
    late = [answer(f"r{n}", "u", "b", 8, DISSATISFIED) for n in range(1, 8)]
    spans.append(write_span(tmp_path, "8", request("r8", 8) + request("r1", 1), late))
    reports = learn(tmp_path, spans, CONFIG)
    store = ImpressionStore.open(tmp_path / "7-store", CONFIG)
    merged = [(segment.info.number, segment.info.spans) for segment in store.segments]
    assert merged == [(2, 2), (4, 2), (5, 1), (6, 1), (7, 1)]
    assert reports[-2]["store"]["spans"] == 7
    assert reports[-1]["answers"]["late_used"] == 7
    assert reports[-1]["impressions"]["rejected"] == {"request_of_earlier_span": 2}


def test_old_stores_may_be_deleted_in_any_order(tmp_path):
    spans = [write_span(tmp_path, str(n), request(f"r{n}", n), []) for n in range(1, 4)]
    learn(tmp_path, spans, CONFIG)
    stores = [tmp_path / f"{n}-store" for n in range(1, 4)]
    assert remove_old_stores(stores, keep=1) == stores[:2]
    left = ImpressionStore.open(stores[2], CONFIG)
    assert [segment.info.slates for segment in left.segments] == [1, 1, 1]
    assert left.segments[0].slates(pa.array([0]).to_numpy())["request_id"].to_pylist() == ["r1"]
    assert [path.exists() for path in stores] == [False, False, True]
