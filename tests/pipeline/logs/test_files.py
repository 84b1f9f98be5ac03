"""Logs that cannot be read at all: one line says which file, what is wrong and what to do."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.logs import files
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.readers import find_tables
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    impression,
    question,
    read_all,
    tiny_config,
    write_table,
)


def good_logs(folder: Path, form: str, types: dict[str, pa.DataType] | None = None) -> Path:
    write_table(
        folder / f"impressions.{form}", [impression(item=f"i{n}") for n in range(50)], types
    )
    write_table(folder / f"questionnaires.{form}", [question()])
    write_table(folder / f"users.{form}", [{"user": "u1", "age": 20}])
    write_table(folder / f"items.{form}", [{"item": "i1", "topic": "news"}])
    return folder


def error_of(read: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(LogError) as error:
        read(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def read_impressions_of(config: DatasetConfig, folder: Path) -> Any:
    return read_all(config, "impressions", folder)


def test_no_directory(tmp_path: Path) -> None:
    assert error_of(find_tables, tiny_config(), tmp_path / "log") == (
        f"{tmp_path}/log: no such directory; give the directory that holds the logs"
    )


def test_no_file_of_a_table(tmp_path: Path) -> None:
    good_logs(tmp_path, "parquet")
    (tmp_path / "users.parquet").rename(tmp_path / "people.parquet")
    assert error_of(find_tables, tiny_config(), tmp_path) == (
        f"{tmp_path}/users*.parquet: no file matches tables.users.path (users*.parquet); the "
        "directory holds impressions.parquet, items.parquet, people.parquet, "
        "questionnaires.parquet; put the file there or change tables.users in the dataset config"
    )


def test_a_file_beside_its_zipped_self(tmp_path: Path) -> None:
    write_table(tmp_path / "impressions.csv", [impression()])
    write_table(tmp_path / "impressions.csv.gz", [impression()])
    table = tiny_config().to_dict()["tables"] | {
        "impressions": {"path": ["impressions.csv", "impressions.csv.gz"]}
    }
    assert error_of(find_tables, tiny_config(tables=table), tmp_path) == (
        f"{tmp_path}/impressions.csv.gz: holds the same table as impressions.csv; keep one of the "
        "two, or narrow the path in the dataset config"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_missing_column(tmp_path: Path, form: str) -> None:
    good_logs(tmp_path, form)
    row = impression()
    row["playd"] = row.pop("played")
    path = write_table(tmp_path / f"impressions.{form}", [row])
    assert error_of(find_tables, tiny_config(form), tmp_path) == (
        f"{path}, column played: no such column; the file has request, user, item, at, rank, "
        "shown, length, truth, click, like, price, device, playd; did you mean 'playd'?; name the "
        "right one in the dataset config"
    )


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    good_logs(tmp_path, "csv")
    path = tmp_path / "users.csv"
    path.write_text("user,age,age\nu1,20,21\n")
    assert error_of(find_tables, tiny_config("csv"), tmp_path) == (
        f"{path}, column age: 2 columns have this name; rename the others"
    )


def test_a_csv_that_is_not_separated_by_commas(tmp_path: Path) -> None:
    good_logs(tmp_path, "csv")
    path = tmp_path / "users.csv"
    path.write_text("user\tage\nu1\t20\n")
    assert error_of(find_tables, tiny_config("csv"), tmp_path) == (
        f"{path}, column user: no such column; the header is 'user\\tage': separate the columns "
        "by commas"
    )


@pytest.mark.parametrize(
    ("column", "value", "type_", "problem"),
    [
        ("at", "now", pa.string(), "of type string, but a number or a timestamp is needed"),
        ("user", 1.0, pa.float64(), "of type double, but text or an integer is needed"),
        ("item", [1], pa.list_(pa.int64()), "int64>, but text or an integer is needed"),
        ("played", "8", pa.string(), "of type string, but a number is needed"),
        ("click", "yes", pa.string(), "of type string, but true/false or 1/0 is needed"),
        ("rank", True, pa.bool_(), "of type bool, but a number is needed"),
        ("price", "cheap", pa.string(), "of type string, but a number is needed"),
        ("device", [1], pa.list_(pa.int8()), "int8>, but text, a number or a boolean is needed"),
    ],
)
def test_a_wrong_type(
    tmp_path: Path, column: str, value: Any, type_: pa.DataType, problem: str
) -> None:
    good_logs(tmp_path, "parquet")
    path = tmp_path / "impressions.parquet"
    write_table(path, [impression(**{column: value})], {column: type_})
    said = error_of(find_tables, tiny_config(), tmp_path)
    assert said.startswith(f"{path}, column {column}: is of type ")
    assert problem in said
    assert said.endswith("; write it as such, or name another column in the dataset config")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("table", ["impressions", "users", "items"])
def test_an_empty_table(tmp_path: Path, form: str, table: str) -> None:
    good_logs(tmp_path, form)
    path = tmp_path / f"{table}.{form}"
    if form == "parquet":
        files.pq.write_table(files.pq.read_table(path).slice(0, 0), path)
    else:
        header = files.read_schema(path).names
        data = (",".join(header) + "\n").encode()
        path.write_bytes(gzip.compress(data) if form == "csv.gz" else data)
    assert error_of(find_tables, tiny_config(form), tmp_path) == (
        f"{tmp_path}: the {table} table has no rows ({table}.{form}); give a directory or a span "
        f"with {table}"
    )


def test_an_empty_file_beside_others_adds_no_rows(tmp_path: Path) -> None:
    good_logs(tmp_path, "parquet")
    empty = files.pq.read_table(tmp_path / "impressions.parquet").slice(0, 0)
    files.pq.write_table(empty, tmp_path / "impressions_2.parquet")
    find_tables(tiny_config(), tmp_path)
    rows, letters, _ = read_impressions_of(tiny_config(), tmp_path)
    assert (len(rows), letters) == (50, [])


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_a_csv_without_even_a_header(tmp_path: Path, form: str, content: bytes) -> None:
    good_logs(tmp_path, form)
    path = tmp_path / f"users.{form}"
    path.write_bytes(gzip.compress(content) if form == "csv.gz" else content)
    assert error_of(find_tables, tiny_config(form), tmp_path) == (
        f"{path}: the file is empty; remove it, or write at least its header"
    )


@pytest.mark.parametrize("form", ["parquet", "csv.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_file(tmp_path: Path, form: str, kept: float) -> None:
    good_logs(tmp_path, form)
    path = tmp_path / f"impressions.{form}"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])

    def find_and_read() -> None:
        find_tables(tiny_config(form), tmp_path)
        read_impressions_of(tiny_config(form), tmp_path)

    said = error_of(find_and_read)
    assert said.startswith(f"{path}: ")
    if kept:
        assert said.endswith("; the file is cut off or damaged: copy or write it again")


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path) -> None:
    good_logs(tmp_path, "parquet")
    path = tmp_path / "impressions.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    said = error_of(read_impressions_of, tiny_config(), tmp_path)
    assert said.startswith(f"{path}: cannot be read (")
    assert said.endswith("); the file is cut off or damaged: copy or write it again")


def test_a_file_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    good_logs(tmp_path, "csv.gz")
    path = tmp_path / "impressions.csv.gz"
    path.write_bytes(b"request,user\nr1,u1\n")
    said = error_of(find_tables, tiny_config("csv.gz"), tmp_path)
    assert said.startswith(f"{path}: cannot be read (")


def test_a_file_that_went_away(tmp_path: Path) -> None:
    good_logs(tmp_path, "csv")
    part = find_tables(tiny_config("csv"), tmp_path)["impressions"][0]
    Path(part.path).unlink()
    said = error_of(lambda: list(files.read_part(part, ["user"])))
    assert said == f"{part.path}: no such file; was it moved while it was read?"


@pytest.mark.parametrize(
    "spoilt",
    [
        'r1,"u1\nr2,u2\nr3,"u3\n',  # two stray quotes would swallow a row between them
        'r1,"u1\nr2,u2\nr3,u3\n',  # a quote never closed
        'r1,"u\n1"\nr2,u2\n',  # a line break within quotes
    ],
)
def test_a_csv_whose_rows_are_not_one_a_line(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "impressions.csv"
    path.write_text("request,user\n" + spoilt)
    part = files.LogPart("impressions", str(path), path.name, 0)
    said = error_of(lambda: list(files.read_part(part, ["user"])))
    assert said.startswith(f"{path}: {1 + spoilt.count(chr(10))} lines, but a header and ")
    assert said.endswith(
        "; write one row a line: no line breaks within quotes, every quote closed; or use Parquet"
    )


def test_a_csv_row_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CSV_BLOCK_BYTES", 64)
    path = tmp_path / "impressions.csv"
    path.write_text("request,user\nr1," + "u" * 1000 + "\n")
    part = files.LogPart("impressions", str(path), path.name, 0)
    said = error_of(lambda: list(files.read_part(part, ["user"])))
    assert said.startswith(f"{path}: cannot be read (")
    assert said.endswith("; write one row a line and close every quote, or use Parquet")


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_endings_and_a_byte_order_mark_do_not_matter(
    tmp_path: Path, ending: str, bom: str
) -> None:
    path = tmp_path / "impressions.csv"
    path.write_bytes(f"{bom}user,n{ending or chr(10)}u1,1{ending or chr(10)}u2,2{ending}".encode())
    part = files.LogPart("impressions", str(path), path.name, 0)
    files.require_columns(path, ["user", "n"], files.read_schema(path))
    (batch,) = files.read_part(part, ["user", "n"])
    assert batch.rows.to_pydict() == {"user": [b"u1", b"u2"], "n": [b"1", b"2"]}


def test_files_are_read_in_the_order_of_their_names_and_hidden_ones_are_not(
    tmp_path: Path,
) -> None:
    for name in ("impressions_b", "impressions_a", "impressions", ".impressions_c"):
        write_table(tmp_path / f"{name}.csv", [impression()])
    found = files.find_files(tiny_config("csv").tables.impressions, "impressions", tmp_path)
    names = ["impressions.csv", "impressions_a.csv", "impressions_b.csv"]
    assert found == names


def test_an_error_keeps_its_parts_on_the_way_from_a_worker() -> None:
    error = LogError("f.csv", "is odd", "fix it", column="user", row=3)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "f.csv, column user, row 3: is odd; fix it"
    assert (copy.file, copy.problem, copy.remedy, copy.column, copy.row) == (
        "f.csv",
        "is odd",
        "fix it",
        "user",
        3,
    )
