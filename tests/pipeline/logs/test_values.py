"""How cells become values: what is taken, what is missing and what is bad."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.values import (
    Parsed,
    parse_flag,
    parse_number,
    parse_text,
    parse_time,
    parse_whole,
)

NAN, INF = float("nan"), float("inf")


def outcome(parsed: Parsed) -> list[Any]:
    """The values, `bad` where one could not be read."""
    values = parsed.values.to_pylist()
    bad = parsed.bad if parsed.bad is not None else np.zeros(len(values), bool)
    assert all(value is None for value, wrong in zip(values, bad, strict=True) if wrong)
    return ["bad" if wrong else value for value, wrong in zip(values, bad, strict=True)]


def cells(*texts: str | None) -> pa.Array:
    """A CSV column."""
    return pa.array([text and text.encode() for text in texts], pa.binary())


def test_whole_numbers() -> None:
    text = cells(
        "12", "-3", " 4", "5.0", "1e3", None, "nan", "5.5", "x", "inf", "99999999999999999999"
    )
    assert outcome(parse_whole(text)) == [
        12,
        -3,
        4,
        5,
        1000,
        None,
        None,
        "bad",
        "bad",
        "bad",
        "bad",
    ]
    floats = pa.array([1.0, None, NAN, 0.5, INF, 2.0**60])
    assert outcome(parse_whole(floats)) == [1, None, None, "bad", "bad", "bad"]
    assert outcome(parse_whole(pa.array([2**64 - 1, 7], pa.uint64()))) == ["bad", 7]


def test_numbers() -> None:
    text = cells("1.5", "-2", " 3 ", "1e-3", "inf", "NaN", None, "1,5", "")
    assert outcome(parse_number(text)) == [1.5, -2.0, 3.0, 0.001, INF, None, None, "bad", None]
    assert outcome(parse_number(pa.array([2**62, None]))) == [float(2**62), None]
    assert outcome(parse_number(pa.array([Decimal("1.25")]))) == [1.25]
    assert outcome(parse_number(pa.array([True, False]))) == [1.0, 0.0]
    assert outcome(parse_number(pa.array([np.float16(1.5)]))) == [1.5]
    assert outcome(parse_number(pa.array([None, None]))) == [None, None]


def test_flags() -> None:
    text = cells("1", "0", "true", "False", "1.0", "0.0", None, "", "2", "yes")
    flags = [True, False, True, False, True, False, None, None, "bad", "bad"]
    assert outcome(parse_flag(text)) == flags
    assert outcome(parse_flag(pa.array([0, 1, 2, None]))) == [False, True, "bad", None]
    assert outcome(parse_flag(pa.array([True, None]))) == [True, None]


def test_flags_of_counts() -> None:
    text = cells("0", "1", "3", "-1", "inf", "true", "x", None)
    counted = [False, True, True, "bad", "bad", True, "bad", None]
    assert outcome(parse_flag(text, count=True)) == counted
    assert outcome(parse_flag(pa.array([0.0, 7.0, NAN]), count=True)) == [False, True, None]


def test_text() -> None:
    assert outcome(parse_text(cells("a", " b ", "", None, "0"))) == ["a", " b ", None, None, "0"]
    assert outcome(parse_text(pa.array([b"\xff", b"ok"]))) == ["bad", "ok"]
    assert outcome(parse_text(pa.array([-(2**63), 2**63 - 1]))) == [str(-(2**63)), str(2**63 - 1)]
    assert outcome(parse_text(pa.array([True, None]))) == ["true", None]
    assert outcome(parse_text(pa.array([1.0, 2.5, NAN]))) == ["1", "2.5", None]
    words = pa.array(["x", None, "x"]).dictionary_encode()
    assert outcome(parse_text(words)) == ["x", None, "x"]


@pytest.mark.parametrize(
    ("unit", "value"), [("s", 1_700_000_000), ("ms", 1_700_000_000_123), ("ns", 17 * 10**17)]
)
def test_times_in_milliseconds(unit: str, value: int) -> None:
    per_second = {"s": 1, "ms": 1000, "ns": 10**9}[unit]
    expected = value * 1000 // per_second
    assert parse_time(pa.array([value]), unit).values.to_pylist() == [expected]
    assert parse_time(cells(str(value)), unit).values.to_pylist() == [expected]


def test_fractions_of_a_second_survive() -> None:
    assert parse_time(pa.array([1650882384.975]), "s").values.to_pylist() == [1650882384975]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14", 1_699_920_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000),
        ("2023-11-14 22:13:20.5Z", 1_700_000_000_500),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
        ("2023-11-14T20:13:20-0200", 1_700_000_000_000),
        ("2023-11-14T21:13:20-01", 1_700_000_000_000),
        ("2023-13-14", "bad"),
        ("14.11.2023", "bad"),
        ("1700000000", "bad"),
        ("", None),
    ],
)
def test_iso_8601(text: str, expected: Any) -> None:
    times = parse_time(pa.array([text]), "iso8601")
    assert outcome(Parsed(times.values, times.bad)) == [expected]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_outside_of_a_century_are_told_from_times_in_another_unit(unit: str) -> None:
    second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    edges = pa.array([946_684_800 * second - 1, 946_684_800 * second, 4_102_444_800 * second - 1])
    times = parse_time(edges, unit)
    assert times.outside is not None
    assert times.outside.tolist() == [True, False, False]
    for other, ticks in {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}.items():
        assert parse_time(pa.array([1_700_000_000 * ticks]), unit).other_unit == (
            None if other == unit else other
        )


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6).map(str), st.just("x"))))
def test_every_cell_is_read_missing_or_bad_whatever_its_neighbours(texts: list[str | None]) -> None:
    expected = ["bad" if text == "x" else text and int(text) for text in texts]
    assert outcome(parse_whole(cells(*texts))) == expected
    assert outcome(parse_number(cells(*texts))) == expected
