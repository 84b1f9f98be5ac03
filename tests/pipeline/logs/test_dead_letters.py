"""What a dead letter looks like."""

import json

import pyarrow as pa

from pipeline.logs.dead_letters import DEAD_LETTER_SCHEMA, dead_letters


def test_one_row_a_letter_with_its_values_as_json() -> None:
    letters = dead_letters(
        "impressions", "a.csv", [3, 8], "negative_played", [{"user": "u1", "played": -1}, {}]
    )
    assert letters.schema == DEAD_LETTER_SCHEMA
    assert letters.to_pylist() == [
        {
            "table": "impressions",
            "file": "a.csv",
            "row": 3,
            "reason": "negative_played",
            "values": '{"user": "u1", "played": -1}',
        },
        {
            "table": "impressions",
            "file": "a.csv",
            "row": 8,
            "reason": "negative_played",
            "values": "{}",
        },
    ]


def test_files_and_reasons_may_differ() -> None:
    letters = dead_letters("users", ["a", "b"], [1, 2], ["x", "y"], [{}, {}])
    assert letters.column("file").to_pylist() == ["a", "b"]
    assert letters.column("reason").to_pylist() == ["x", "y"]


def test_values_that_json_cannot_hold_are_text_and_long_ones_are_cut() -> None:
    odd = {"n": float("nan"), "b": b"\xff", "i": float("-inf"), "long": "é" * 101, "none": None}
    (values,) = dead_letters("users", "a", [1], "x", [odd]).column("values").to_pylist()
    assert json.loads(values) == {
        "n": "nan",
        "b": "\\xff",
        "i": "-inf",
        "long": "é" * 99 + "…",
        "none": None,
    }


def test_there_may_be_none() -> None:
    assert dead_letters("users", "a", [], "x", []).equals(
        pa.RecordBatch.from_pylist([], DEAD_LETTER_SCHEMA)
    )
