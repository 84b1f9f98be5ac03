"""Rows of users taken out of log tables."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.forget.log_files import LogFile, remove_rows, rows_of, user_files
from pipeline.logs.errors import LogError
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    impression,
    question,
    read_all,
    tiny_config,
    write_table,
)

THEM = frozenset({"person-1"})


@pytest.mark.parametrize("form", FORMATS)
def test_their_rows_go_and_all_others_stay_as_they_are(tmp_path: Path, form: str) -> None:
    users = ["u1", "person-1", "person-11", "person-1", "u2"]
    rows = [impression(user=user, price=place / 3) for place, user in enumerate(users)]
    path = write_table(tmp_path / f"impressions.{form}", rows)
    kept = [row for row in rows if row["user"] != "person-1"]
    expected = write_table(tmp_path / f"expected.{form}", kept)
    file = LogFile("impressions", path, "user")
    numbers = rows_of(file, THEM)
    assert numbers.tolist() == [2, 4]
    remove_rows(path, numbers)
    assert len(rows_of(file, THEM)) == 0
    assert [each.name for each in tmp_path.glob(".*")] == []
    if form == "parquet":
        assert pq.read_table(path).equals(pq.read_table(expected))
    else:
        found = [each.read_bytes() for each in (path, expected)]
        if form == "csv.gz":
            found = [gzip.decompress(content) for content in found]
        assert found[0] == found[1]


def test_a_csv_keeps_every_other_byte(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfuser,note\r\nu1,"a ""b"" "\r\nperson-1,x\r\n,\r\nu2, \xff \r\nperson-1,end'
    path = tmp_path / "users.csv"
    path.write_bytes(text)
    remove_rows(path, rows_of(LogFile("users", path, "user"), THEM))
    assert path.read_bytes() == text.replace(b"person-1,x\r\n", b"").replace(b"person-1,end", b"")


def test_a_line_of_too_many_fields_is_theirs_if_it_names_them(tmp_path: Path) -> None:
    path = tmp_path / "users.csv.gz"
    path.write_bytes(gzip.compress(b"user,age\nu1,3\nx,person-1,4\nu2,person-11,1\nu3,1\n"))
    numbers = rows_of(LogFile("users", path, "user"), THEM)
    assert numbers.tolist() == [2]
    remove_rows(path, numbers)
    assert gzip.decompress(path.read_bytes()) == b"user,age\nu1,3\nu2,person-11,1\nu3,1\n"


def test_ids_that_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "impressions.parquet"
    table = pa.table({"user": pa.array([7, 77, None, 7], pa.int64()), "n": [0, 1, 2, 3]})
    pq.write_table(table, path, row_group_size=2, compression="zstd")
    file = LogFile("impressions", path, "user")
    remove_rows(path, rows_of(file, frozenset({"7"})))
    assert pq.read_table(path)["n"].to_pylist() == [1, 2]
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_files_of_spans_and_of_the_base_and_shared_ones_are_found(tmp_path: Path) -> None:
    dataset = tiny_config("csv")
    for place in ("span=1", "_base", ".span=2.partial", "."):
        (tmp_path / place).mkdir(exist_ok=True)
        write_table(tmp_path / place / "impressions.csv", [impression()])
        write_table(tmp_path / place / "questionnaires.csv", [question()])
    (tmp_path / "users.csv").write_text("user,age\nu,1\n")
    (tmp_path / "items.csv").write_text("item,topic\nu,1\n")
    found = user_files(dataset, tmp_path, answers_only=False)
    assert len(found) == 9
    assert {file.path.name for file in found} == {
        "impressions.csv", "questionnaires.csv", "users.csv",
    }  # fmt: skip
    answers = user_files(dataset, tmp_path, answers_only=True)
    assert {file.table for file in answers} == {"questionnaires"}
    with pytest.raises(LogError, match=r"no file of the dataset tiny lies here \(impressions"):
        user_files(dataset, tmp_path / "span=1" / "nothing", answers_only=False)


def test_what_is_left_of_a_file_can_be_read(tmp_path: Path) -> None:
    dataset = tiny_config("parquet")
    path = write_table(tmp_path / "impressions.parquet", [impression(user="person-1")])
    remove_rows(path, np.array([1]))
    assert read_all(dataset, "impressions", tmp_path) == ([], [], {})


def test_a_file_without_the_column_of_the_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("person,age\nu,1\n")
    with pytest.raises(LogError, match=r"users.csv, column user: no such column"):
        rows_of(LogFile("users", path, "user"), THEM)
