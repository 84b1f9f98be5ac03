"""Records of spans, line by line, as a crash may leave them."""

import pytest

from pipeline.online import series


@pytest.fixture
def file(tmp_path):
    return tmp_path / "online" / "series.jsonl"


def test_records_are_read_in_the_order_they_were_appended(file):
    series.append(file, {"sequence": 1, "value": 0.5})
    series.append(file, {"sequence": 2, "value": float("nan")})
    assert series.read(file) == [{"sequence": 1, "value": 0.5}, {"sequence": 2, "value": None}]


def test_nothing_was_learnt_yet(file):
    assert series.read(file) == []


def test_half_a_line_is_ignored_and_does_not_spoil_the_next(file):
    series.append(file, {"sequence": 1})
    with file.open("a") as opened:
        opened.write('{"sequence": 2, "val')
    assert series.read(file) == [{"sequence": 1}]
    series.append(file, {"sequence": 2})
    assert series.read(file) == [{"sequence": 1}, {"sequence": 2}]


def test_records_of_spans_that_were_not_done_are_dropped(file):
    for sequence in (1, 2, 3):
        series.append(file, {"sequence": sequence})
    series.keep_until(file, 2)
    assert series.read(file) == [{"sequence": 1}, {"sequence": 2}]
    series.keep_until(file, 0)
    assert series.read(file) == []
