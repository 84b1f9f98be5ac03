"""Which folders are spans, in which order, and when one of them is complete."""

import os
import pickle

import pytest

from pipeline.online.spans import (
    Span,
    SpanError,
    find_spans,
    fingerprint,
    span_name,
    unfinished_spans,
)


def land(folder, *names, success=True):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "impressions.parquet").write_bytes(name.encode())
        if success:
            (folder / name / "_SUCCESS").touch()


def names(spans):
    return [span.name for span in spans]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1970-01-02", 1),
        ("2026-11-22", 20779),
        ("date=2026-11-22", 20779),
        ("1970-01-02T03", 27),
        ("1970-01-01T0102", 62),
        ("1970-01-01T01-02", 62),
        ("41", 41),
        ("000041", 41),
        ("span=000041", 41),
        ("span-41", 41),
    ],
)
def test_the_number_follows_from_the_name(name, number):
    assert Span.at(name).number == number


@pytest.mark.parametrize("name", ["november", "2026-13-01", "2026-11-22T25", "2026-11-22 05", "-1"])
def test_a_name_that_says_no_place_in_time_is_refused(tmp_path, name):
    land(tmp_path, name)
    with pytest.raises(SpanError, match="its name"):
        find_spans(tmp_path)


def test_a_dated_span_knows_its_time_and_a_numbered_one_does_not():
    hour = Span.at("1970-01-02T03")
    assert hour.time_range_ms == (27 * 3_600_000, 28 * 3_600_000)
    assert Span.at("span=3").time_range_ms is None
    assert span_name(27 * 3_600_000 + 5, "hour") == "1970-01-02T03"
    assert span_name(27 * 3_600_000 + 5, "day") == "1970-01-02"


def test_spans_are_in_the_order_of_their_numbers_not_of_their_letters(tmp_path):
    land(tmp_path, "span=10", "span=9", "span=100")
    assert names(find_spans(tmp_path)) == ["span=9", "span=10", "span=100"]
    land(tmp_path, "span=1")
    found = find_spans(tmp_path)
    assert [span.number for span in found] == [1, 9, 10, 100]
    assert found[0].path == tmp_path / "span=1"


def test_hidden_folders_and_files_are_no_spans(tmp_path):
    land(tmp_path, "1", ".2.partial", "_base")
    (tmp_path / "users.parquet").touch()
    assert names(find_spans(tmp_path)) == ["1"]


def test_a_span_without_success_is_not_complete(tmp_path):
    land(tmp_path, "1")
    land(tmp_path, "2", success=False)
    assert names(find_spans(tmp_path)) == ["1"]
    assert unfinished_spans(tmp_path) == {"2": "it holds no _SUCCESS file"}


def test_a_span_that_nothing_changed_in_for_long_is_complete_if_so_set(tmp_path):
    land(tmp_path, "1", success=False)
    for path in (tmp_path / "1" / "impressions.parquet", tmp_path / "1"):
        os.utime(path, (1000, 1000))
    (tmp_path / "2").mkdir()
    settled = find_spans(tmp_path, settle_seconds=30, now=1030.0)
    assert names(settled) == ["1"]
    assert unfinished_spans(tmp_path, settle_seconds=30, now=1029.0) == {
        "1": "it holds no _SUCCESS file and changed 29 s ago",
        "2": "it holds neither data nor a _SUCCESS file",
    }


@pytest.mark.parametrize(
    ("between", "found"),
    [
        ("2026-11-22T05:2026-11-22T06", ["2026-11-22T05", "2026-11-22T06"]),
        ("2026-11-22T06:", ["2026-11-22T06", "2026-11-23T00"]),
        (":2026-11-22T05", ["2026-11-21T23", "2026-11-22T05"]),
        ("2026-11-22:2026-11-22", ["2026-11-22T05", "2026-11-22T06"]),
        (":2026-11-22", ["2026-11-21T23", "2026-11-22T05", "2026-11-22T06"]),
        ("498701:498702", ["2026-11-22T05", "2026-11-22T06"]),
        ("2026-11-22T0530:", ["2026-11-22T06", "2026-11-23T00"]),
        ("2027-01-01:", []),
    ],
)
def test_a_range_is_of_names_or_numbers_and_holds_both_ends(tmp_path, between, found):
    land(tmp_path, "2026-11-21T23", "2026-11-22T05", "2026-11-22T06", "2026-11-23T00")
    assert names(find_spans(tmp_path, between=between)) == found


@pytest.mark.parametrize("between", ["5", "a:b", "1:2:3", "2026-11-22:2026-11-23"])
def test_what_is_no_range_of_these_spans_is_refused(tmp_path, between):
    land(tmp_path, "1", "2")
    with pytest.raises(SpanError, match="range"):
        find_spans(tmp_path, between=between)


def test_names_of_two_kinds_or_of_one_number_are_refused(tmp_path):
    land(tmp_path / "kinds", "2026-11-22", "2026-11-22T05")
    with pytest.raises(SpanError, match="different kinds"):
        find_spans(tmp_path / "kinds")
    land(tmp_path / "twice", "7", "span=7")
    with pytest.raises(SpanError, match="are the same span"):
        find_spans(tmp_path / "twice")
    with pytest.raises(SpanError, match="no such folder"):
        find_spans(tmp_path / "nowhere")


def test_a_fingerprint_changes_with_names_sizes_and_content_only(tmp_path):
    land(tmp_path, "1", "2")
    span = Span.at(tmp_path / "1")
    first = fingerprint(span)
    os.utime(span.path / "impressions.parquet", (1, 1))
    (span.path / "notes.txt").write_text("no table")
    assert fingerprint(span) == first
    (span.path / "impressions.parquet").write_bytes(b"2")
    (span.path / "questionnaires.csv").write_bytes(b"")
    changed = fingerprint(span)
    assert changed.digest != first.digest
    (tmp_path / "2" / "impressions.parquet").rename(tmp_path / "2" / "other.parquet")
    assert fingerprint(Span.at(tmp_path / "2")).digest != changed.digest


def test_an_error_keeps_its_parts_on_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(SpanError("here", "what", "do")))
    assert str(error) == "here: what; do"
    assert error.remedy == "do"
