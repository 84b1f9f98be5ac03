"""What the readers make of good rows and of each kind of bad one."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.logs import files
from pipeline.logs.errors import LogError
from pipeline.logs.readers import find_tables
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    NOON,
    impression,
    question,
    read_all,
    tiny_config,
    write_table,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("form", FORMATS)
def test_a_good_impression_becomes_canonical(tmp_path: Path, form: str) -> None:
    write_table(tmp_path / f"impressions.{form}", [impression(user=12), impression(user=-7)])
    rows, letters, missing = read_all(tiny_config(form), "impressions", tmp_path)
    assert rows[0] == {
        "request_id": "r1",
        "user_id": "12",
        "item_id": "i1",
        "time_ms": NOON,
        "position": 0,
        "exposed": True,
        "played_s": 8.0,
        "duration_s": 20.0,
        "behaviour_click": 1,
        "behaviour_like": 0,
        "true_satisfaction": 0.25,
        "feature_price": 1.5,
        "feature_device": "phone",
        "_file": 0,
        "_row": 1,
    }
    assert (rows[1]["user_id"], rows[1]["_row"]) == ("-7", 2)
    assert (letters, missing) == ([], {})


BAD_IMPRESSIONS = [
    ({"request": None}, "missing_request_id"),
    ({"user": None}, "missing_user_id"),
    ({"user": ""}, "missing_user_id"),
    ({"item": None}, "missing_item_id"),
    ({"at": None}, "missing_time"),
    ({"at": NAN}, "missing_time"),
    ({"at": INF}, "bad_time"),
    ({"at": -INF}, "bad_time"),
    ({"at": -1}, "time_out_of_range"),
    ({"at": NOON // 1000}, "time_out_of_range"),
    ({"rank": 1.5}, "bad_position"),
    ({"rank": 2**31}, "bad_position"),
    ({"shown": None}, "missing_exposed"),
    ({"played": None}, "missing_played"),
    ({"played": NAN}, "missing_played"),
    ({"played": -5}, "negative_played"),
    ({"played": INF}, "bad_played"),
    ({"played": -INF}, "bad_played"),
    ({"played": 367 * 86_400_000}, "played_out_of_range"),
    ({"length": None}, "missing_duration"),
    ({"length": -1}, "negative_duration"),
    ({"length": INF}, "bad_duration"),
    ({"click": None}, "missing_behaviour"),
    ({"click": 2}, "bad_behaviour"),
    ({"click": -1}, "bad_behaviour"),
    ({"click": 0.5}, "bad_behaviour"),
    ({"truth": None}, "missing_true_satisfaction"),
    ({"truth": INF}, "bad_true_satisfaction"),
    ({"price": INF}, "infinite_feature"),
    ({"price": -INF}, "infinite_feature"),
    ({"price": 1e39}, "infinite_feature"),  # not a float32
    ({"shown": False}, "used_without_exposure"),  # but played
    ({"shown": False, "played": None, "click": 1}, "used_without_exposure"),
]


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize(("change", "reason"), BAD_IMPRESSIONS)
def test_a_bad_impression_is_a_dead_letter(
    tmp_path: Path, form: str, change: dict[str, Any], reason: str
) -> None:
    bad = impression(**change)
    write_table(tmp_path / f"impressions.{form}", [impression(), bad, impression(item="i2")])
    rows, letters, _ = read_all(tiny_config(form), "impressions", tmp_path)
    assert [row["_row"] for row in rows] == [1, 3]
    assert [(r["table"], r["file"], r["row"], r["reason"]) for r in letters] == [
        ("impressions", f"impressions.{form}", 2, reason)
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"at": "yesterday"}, "bad_time"),
        ({"played": "8s"}, "bad_played"),
        ({"length": "long"}, "bad_duration"),
        ({"rank": "first"}, "bad_position"),
        ({"shown": "perhaps"}, "bad_exposed"),
        ({"click": "often"}, "bad_behaviour"),
        ({"price": "1,50"}, "bad_feature"),
        ({"truth": "high"}, "bad_true_satisfaction"),
        ({"user": "M\udcfcller"}, "bad_user_id"),  # Latin-1
        ({"item": "\udcff"}, "bad_item_id"),
        ({"request": "\udcff"}, "bad_request_id"),
        ({"device": "\udcff"}, "bad_feature"),
        ({"price": "\udcff"}, "bad_feature"),
        ({"click": "\udcff"}, "bad_behaviour"),
    ],
)
def test_text_in_a_csv_that_does_not_fit_its_role_is_a_dead_letter(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    rows = [impression(), impression(**change), impression(item="i2")]
    write_table(tmp_path / "impressions.csv", rows)
    good, letters, _ = read_all(tiny_config("csv"), "impressions", tmp_path)
    assert [row["_row"] for row in good] == [1, 3]
    assert [(letter["row"], letter["reason"]) for letter in letters] == [(2, reason)]


def test_a_dead_letter_holds_the_ids_and_the_offending_values_and_nothing_else(
    tmp_path: Path,
) -> None:
    rows = [impression(played=-5), impression(like=3, device="a secret")]
    write_table(tmp_path / "impressions.parquet", rows)
    _, letters, _ = read_all(tiny_config(), "impressions", tmp_path)
    assert [letter["values"] for letter in letters] == [
        {"user": "u1", "item": "i1", "played": -5},
        {"user": "u1", "item": "i1", "like": 3},
    ]


def test_the_first_reason_found_is_the_reason(tmp_path: Path) -> None:
    write_table(tmp_path / "impressions.parquet", [impression(user=None, played=-1, price=INF)])
    _, letters, _ = read_all(tiny_config(), "impressions", tmp_path)
    assert [letter["reason"] for letter in letters] == ["missing_user_id"]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_an_unexposed_candidate_needs_no_outcome(tmp_path: Path, form: str) -> None:
    unseen = impression(shown=False, played=None, length=None, click=None, like=None)
    write_table(tmp_path / f"impressions.{form}", [impression(), unseen])
    rows, letters, _ = read_all(tiny_config(form), "impressions", tmp_path)
    assert letters == []
    outcome = ("exposed", "played_s", "duration_s", "behaviour_click", "behaviour_like")
    assert [rows[1][name] for name in outcome] == [False, 0.0, 0.0, 0, 0]


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("nothing", [None, NAN])
def test_a_missing_feature_becomes_its_default_and_is_counted(
    tmp_path: Path, form: str, nothing: float | None
) -> None:
    rows = [impression(price=nothing), impression(device=None), impression(device="")]
    rows += [impression(price=None, played=-1)]  # rejected: what it misses does not count
    write_table(tmp_path / f"impressions.{form}", rows)
    good, letters, missing = read_all(tiny_config(form), "impressions", tmp_path)
    assert [row["feature_price"] for row in good] == [0.0, 1.5, 1.5]
    assert [row["feature_device"] for row in good] == ["phone", "none", "none"]
    assert (missing, len(letters)) == ({"price": 1, "device": 2}, 1)


def test_optional_columns_may_be_left_out(tmp_path: Path) -> None:
    config = tiny_config(
        columns={
            "user_id": "user",
            "item_id": "item",
            "time": {"column": "at"},
            "played": {"column": "played"},
            "duration": {"column": "length"},
        },
        questionnaire={"from_behaviours": {"satisfied": "like", "dissatisfied": "hate"}},
        behaviours={"columns": ["click"], "positive": "click"},
        tables={table: {"path": f"{table}.parquet"} for table in ("impressions", "users", "items")},
        slate={"rebuild": {"gap_minutes": 30}},
    )
    write_table(tmp_path / "impressions.parquet", [impression(like=1, hate=0)])
    (row,), _, _ = read_all(config, "impressions", tmp_path)
    assert (row["request_id"], row["position"], row["exposed"]) == (None, None, True)
    assert "true_satisfaction" not in row


def test_answers_from_behaviours_count_on_the_chosen_rows_and_contradictions_are_rejected(
    tmp_path: Path,
) -> None:
    config = tiny_config(
        tables={table: {"path": f"{table}.parquet"} for table in ("impressions", "users", "items")},
        questionnaire={
            "from_behaviours": {"satisfied": "like", "dissatisfied": "hate", "only_if": "click"}
        },
        behaviours={"columns": ["click"], "positive": "click"},
    )
    rows = [
        impression(item="liked", like=1, hate=0),
        impression(item="hated", like=0, hate=1),
        impression(item="neither", like=0, hate=0),
        impression(item="liked unclicked", like=1, hate=0, click=0),
        impression(item="both", like=1, hate=1),
    ]
    write_table(tmp_path / "impressions.parquet", rows)
    good, letters, _ = read_all(config, "impressions", tmp_path)
    assert [row["answer"] for row in good] == [2, 0, -1, -1]
    assert [(letter["reason"], letter["values"]) for letter in letters] == [
        ("satisfied_and_dissatisfied", {"user": "u1", "item": "both", "like": 1, "hate": 1})
    ]


def test_behaviours_may_be_counts(tmp_path: Path) -> None:
    config = tiny_config(
        behaviours={"columns": ["click", "like"], "positive": "like", "values": "count"}
    )
    counts = [0, 1, 17, 0.5, -1, INF]
    write_table(tmp_path / "impressions.parquet", [impression(click=float(n)) for n in counts])
    good, letters, _ = read_all(config, "impressions", tmp_path)
    assert [row["behaviour_click"] for row in good] == [0, 1, 1, 1]
    assert [letter["reason"] for letter in letters] == ["bad_behaviour"] * 2


@pytest.mark.parametrize("form", FORMATS)
def test_questionnaires_become_codes(tmp_path: Path, form: str) -> None:
    rows = [
        question(),
        question(answer="5"),
        question(answer="no"),
        question(answer="so so"),
        question(answer=None, answered=None),
        question(answer="closed", answered=None),
    ]
    write_table(tmp_path / f"questionnaires.{form}", rows)
    good, letters, _ = read_all(tiny_config(form), "questionnaires", tmp_path)
    assert [row["answer"] for row in good] == [2, 2, 0, 1, -1, -1]
    assert good[0] == {
        "request_id": "r1",
        "user_id": "u1",
        "item_id": "i1",
        "issued_ms": NOON + 10_000,
        "answered_ms": NOON + 15_000,
        "answer": 2,
        "_file": 0,
        "_row": 1,
    }
    assert (good[4]["answered_ms"], letters) == (None, [])


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("change", "reason", "values"),
    [
        ({"answer": "maybe"}, "unknown_answer", {"answer": "maybe"}),
        ({"answer": "Yes"}, "unknown_answer", {"answer": "Yes"}),
        ({"answered": NOON}, "answered_before_issued", {"answered": NOON}),
        ({"issued": None}, "missing_issued", {"issued": None}),
        ({"issued": 0}, "issued_out_of_range", {"issued": 0}),
        ({"user": None}, "missing_user_id", {"user": None}),
        ({"request": ""}, "missing_request_id", {"request": ""}),
        ({"answered": None}, "missing_answered", {"answer": "yes", "answered": None}),
        ({"answer": None}, "missing_answer", {"answer": None, "answered": NOON + 15_000}),
    ],
)
def test_a_bad_questionnaire_event_is_a_dead_letter(
    tmp_path: Path, form: str, change: dict[str, Any], reason: str, values: dict[str, Any]
) -> None:
    write_table(tmp_path / f"questionnaires.{form}", [question(), question(**change)])
    good, letters, _ = read_all(tiny_config(form), "questionnaires", tmp_path)
    assert [row["_row"] for row in good] == [1]
    assert [(letter["row"], letter["reason"]) for letter in letters] == [(2, reason)]
    if form == "parquet":
        assert letters[0]["values"] == {"user": "u1", "item": "i1", **values}


def test_the_first_row_of_a_user_counts_and_later_ones_are_dead_letters(tmp_path: Path) -> None:
    write_table(tmp_path / "users_a.csv", [{"user": "u1", "age": 20}, {"user": "u2", "age": None}])
    write_table(tmp_path / "users_b.csv", [{"user": "u1", "age": 99}, {"user": "", "age": 3}])
    rows, letters, missing = read_all(tiny_config("csv"), "users", tmp_path)
    assert [(row["id"], row["feature_age"]) for row in rows] == [("u1", 20.0), ("u2", 30.0)]
    assert missing == {"age": 1}
    assert [(r["file"], r["row"], r["reason"], r["values"]) for r in letters] == [
        ("users_b.csv", 2, "missing_id", {"user": None}),
        ("users_b.csv", 1, "duplicate_id", {"user": "u1"}),
    ]


@pytest.mark.parametrize(
    ("unit", "form", "value"),
    [
        ("s", "parquet", NOON // 1000),
        ("s", "parquet", NOON / 1000),
        ("us", "csv", NOON * 1000),
        ("ns", "parquet", NOON * 10**6),
        ("iso8601", "csv", "2023-11-14T22:13:20Z"),
        ("iso8601", "csv", "2023-11-14 22:13:20"),
        ("iso8601", "csv", "2023-11-15T06:13:20.000+08:00"),
        ("iso8601", "parquet", "2023-11-14T17:13:20-0500"),
    ],
)
def test_times_are_read_in_their_unit(tmp_path: Path, unit: str, form: str, value: Any) -> None:
    columns = tiny_config().to_dict()["columns"] | {"time": {"column": "at", "unit": unit}}
    write_table(tmp_path / f"impressions.{form}", [impression(at=value)] * 2)
    rows, letters, _ = read_all(tiny_config(form, columns=columns), "impressions", tmp_path)
    assert [row["time_ms"] for row in rows] == [NOON, NOON]
    assert letters == []


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_a_parquet_timestamp_says_its_own_unit(tmp_path: Path, unit: str, zone: str | None) -> None:
    at = pa.scalar(NOON, pa.timestamp("ms")).cast(pa.timestamp(unit)).value
    type_ = pa.timestamp(unit, zone)
    path = tmp_path / "impressions.parquet"
    write_table(path, [impression(at=at), impression(at=None)], types={"at": type_})
    rows, letters, _ = read_all(tiny_config(), "impressions", tmp_path)
    assert [row["time_ms"] for row in rows] == [NOON]
    assert [letter["reason"] for letter in letters] == ["missing_time"]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_wrong_unit_of_time_stops_the_reading_and_says_the_right_one(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"impressions.{form}"
    write_table(path, [impression(at=1_700_000_000) for _ in range(20)])
    with pytest.raises(LogError) as error:
        read_all(tiny_config(form), "impressions", tmp_path)
    assert str(error.value) == (
        f"{path}, column at, row 1: 1700000000 ms since 1970 is not between the years 2000 and "
        "2100; these are s: set columns.time.unit to s in the dataset config"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_row_numbers_and_order_survive_many_batches(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 3)
    monkeypatch.setattr(files, "_CSV_BLOCK_BYTES", 300)
    rows = [impression(item=f"i{n}", played=-1 if n % 7 == 0 else 1000) for n in range(1, 41)]
    write_table(tmp_path / f"impressions.{form}", rows)
    good, letters, _ = read_all(tiny_config(form), "impressions", tmp_path)
    assert [(row["_row"], row["item_id"]) for row in good] == [
        (n, f"i{n}") for n in range(1, 41) if n % 7
    ]
    assert [letter["row"] for letter in letters] == [7, 14, 21, 28, 35]


@pytest.mark.parametrize("block", [300, 1 << 20])
def test_a_csv_row_with_the_wrong_number_of_fields_is_a_dead_letter_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(files, "_CSV_BLOCK_BYTES", block)
    path = write_table(tmp_path / "impressions.csv", [impression()] * 12)
    lines = path.read_text().splitlines()
    lines[2] += ",one more"  # row 2
    lines[8] = "r1,u1"  # row 8
    lines[10] = ""  # row 10, of which every cell is empty
    lines[12] = "cut"  # the last row
    path.write_text("\n".join(lines))
    good, letters, _ = read_all(tiny_config("csv"), "impressions", tmp_path)
    assert [row["_row"] for row in good] == [1, 3, 4, 5, 6, 7, 9, 11]
    assert sorted((r["row"], r["reason"], r["values"]) for r in letters) == [
        (2, "malformed_row", {"fields": 14, "expected": 13}),
        (8, "malformed_row", {"fields": 2, "expected": 13}),
        (10, "missing_request_id", {"user": None, "item": None, "request": None}),
        (12, "malformed_row", {"fields": 1, "expected": 13}),
    ]


ODD_VALUES = {
    "user": st.sampled_from([None, "", "u1", "名前", " "]),
    "at": st.sampled_from([None, NOON, NOON + 1, -1, 0]),
    "played": st.sampled_from([None, 0, 1, -1, NAN, INF, 1e300]),
    "length": st.sampled_from([None, 0, 10_000, -3, -INF]),
    "shown": st.sampled_from([None, True, False]),
    "click": st.sampled_from([None, 0, 1, 2, -1]),
    "price": st.sampled_from([None, 0.5, NAN, INF]),
    "device": st.sampled_from([None, "", "phone"]),
}
ODD_ROWS = st.lists(
    st.fixed_dictionaries({}, optional=ODD_VALUES).map(lambda change: impression(**change)),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ODD_ROWS)
def test_nothing_disappears_and_csv_and_parquet_say_the_same(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    read = {}
    for form in ("parquet", "csv"):
        write_table(tmp_path / f"impressions.{form}", rows)
        read[form] = read_all(tiny_config(form), "impressions", tmp_path)
    good, letters, missing = read["parquet"]
    places = [row["_row"] for row in good] + [letter["row"] for letter in letters]
    assert sorted(places) == list(range(1, len(rows) + 1))
    also_good, also_letters, also_missing = read["csv"]
    assert (good, missing) == (also_good, also_missing)
    assert [(r["row"], r["reason"]) for r in letters] == [
        (r["row"], r["reason"]) for r in also_letters
    ]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    ids=st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
        st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20),
    ),
    form=st.sampled_from(["parquet", "csv"]),
)
def test_ids_are_any_integer_or_any_text_but_the_empty_one(
    tmp_path: Path, ids: list[int] | list[str], form: str
) -> None:
    if form == "csv":  # one row a line
        ids = [id_ for id_ in ids if not isinstance(id_, str) or not set(id_) & set("\r\n")] or [1]
    write_table(tmp_path / f"impressions.{form}", [impression(user=id_) for id_ in ids])
    good, letters, _ = read_all(tiny_config(form), "impressions", tmp_path)
    assert [row["user_id"] for row in good] == [str(id_) for id_ in ids if id_ != ""]
    assert {letter["reason"] for letter in letters} <= {"missing_user_id"}


@pytest.mark.parametrize("form", FORMATS)
def test_an_id_may_be_very_long_and_its_dead_letter_is_short(tmp_path: Path, form: str) -> None:
    long = "x" * 100_000
    write_table(tmp_path / f"impressions.{form}", [impression(item=long), impression(user=long)])
    bad = impression(user=long, played=-1)
    write_table(tmp_path / f"impressions_2.{form}", [bad])
    good, letters, _ = read_all(tiny_config(form), "impressions", tmp_path)
    assert (good[0]["item_id"], good[1]["user_id"]) == (long, long)
    assert letters[0]["values"]["user"] == "x" * 99 + "…"


@pytest.mark.parametrize(
    "type_",
    [pa.int8(), pa.uint64(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_a_parquet_id_may_be_of_any_integer_or_text_type(
    tmp_path: Path, type_: pa.DataType
) -> None:
    value = 7 if pa.types.is_integer(type_) else b"7" if pa.types.is_binary(type_) else "7"
    path = tmp_path / "impressions.parquet"
    write_table(path, [impression(user=value)], types={"user": type_})
    rows, _, _ = read_all(tiny_config(), "impressions", tmp_path)
    assert [row["user_id"] for row in rows] == ["7"]


def test_parts_of_a_file_together_are_the_file(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = [impression(item=f"i{n}") for n in range(50)]
    random.Random(0).shuffle(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "impressions.parquet", row_group_size=8)
    write_table(tmp_path / "impressions_more.parquet", [impression(item="last")])
    config = tiny_config()
    parts = files.find_parts(config.tables.impressions, "impressions", tmp_path, rows_per_part=20)
    assert [(part.index, part.row_groups, part.first_row) for part in parts] == [
        (0, (0, 1, 2), 1),
        (0, (3, 4, 5), 25),
        (0, (6,), 49),
        (1, (0,), 1),
    ]
    whole, _, _ = read_all(config, "impressions", tmp_path)
    cut, _, _ = read_all(config, "impressions", tmp_path, rows_per_part=20)
    assert whole == cut
    assert [row["item_id"] for row in whole] == [row["item"] for row in rows] + ["last"]


def test_find_tables_gives_the_parts_of_every_table(tmp_path: Path) -> None:
    write_table(tmp_path / "impressions.parquet", [impression()])
    write_table(tmp_path / "questionnaires.parquet", [question()])
    write_table(tmp_path / "users.parquet", [{"user": "u1", "age": 20}])
    write_table(tmp_path / "items.parquet", [{"item": "i1", "topic": "news"}])
    found = find_tables(tiny_config(), tmp_path)
    assert {table: [part.name for part in parts] for table, parts in found.items()} == {
        "impressions": ["impressions.parquet"],
        "questionnaires": ["questionnaires.parquet"],
        "users": ["users.parquet"],
        "items": ["items.parquet"],
    }
