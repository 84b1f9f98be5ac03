"""Logs in an object store are found, checked and read like those in a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.logs import places
from pipeline.logs.errors import LogError
from pipeline.logs.readers import find_tables, read_impressions
from tests.pipeline.logs.object_store import object_store
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    impression,
    question,
    tiny_config,
    write_table,
)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the bucket `easq` of a store that speaks S3 on loopback."""
    with object_store(tmp_path) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        places._file_system.cache_clear()
        folder = tmp_path / "easq"
        folder.mkdir()
        yield folder
    places._file_system.cache_clear()


def write_logs(folder: Path, form: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [impression(item=f"i{number}") for number in range(50)]
    write_table(folder / f"impressions.{form}", rows)
    write_table(folder / f"questionnaires.{form}", [question()])
    write_table(folder / f"users.{form}", [{"user": "u1", "age": 20}])
    write_table(folder / f"items.{form}", [{"item": "i1", "topic": "news"}])


def rows_read(form: str, data_dir: str | Path) -> list[dict[str, object]]:
    config = tiny_config(form)
    (part,) = find_tables(config, data_dir)["impressions"]
    return [row for batch in read_impressions(config, part) for row in batch.rows.to_pylist()]


@pytest.mark.parametrize("form", FORMATS)
def test_a_bucket_is_read_like_a_folder(bucket: Path, form: str) -> None:
    write_logs(bucket / "logs", form)
    assert rows_read(form, "s3://easq/logs") == rows_read(form, bucket / "logs")
    assert len(rows_read(form, "s3://easq/logs/")) == 50


@pytest.mark.parametrize("pattern", ["impressions.csv", "*.csv", "*/*.csv", "**/i*.csv", "[ab]/*"])
@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_a_pattern_finds_in_a_bucket_what_it_finds_in_a_folder(
    bucket: Path, pattern: str, scheme: str
) -> None:
    for name in ("impressions.csv", "users.csv", "a/impressions.csv", "b/c/impressions.csv"):
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).write_text("x\n")
    root = "s3://easq" if scheme == "s3" else f"file://{bucket}"
    found = sorted(places.matching_files(root, pattern))
    assert found == sorted(places.matching_files(bucket, pattern))
    assert found


def test_sizes_and_kinds_of_what_lies_in_a_bucket(bucket: Path) -> None:
    (bucket / "logs").mkdir()
    (bucket / "logs" / "users.csv").write_text("user\nu1\n")
    assert places.file_size("s3://easq/logs/users.csv") == 8
    assert places.is_file("s3://easq/logs/users.csv")
    assert places.is_folder("s3://easq/logs")
    assert not places.is_file("s3://easq/logs/items.csv")
    assert not places.is_folder("s3://easq/elsewhere")
    assert places.names_in("s3://easq/logs") == (["users.csv"], [])


@pytest.mark.parametrize(
    ("data_dir", "said"),
    [
        ("s3://easq/none", "s3://easq/none: no such directory; give the directory that holds"),
        ("s3://easq/logs", "s3://easq/logs/users*.csv: no file matches tables.users.path"),
        ("minio://easq/logs", "logs cannot be read from minio://; give a folder, or one that"),
    ],
)
def test_what_is_not_there_is_named(bucket: Path, data_dir: str, said: str) -> None:
    write_logs(bucket / "logs", "csv")
    (bucket / "logs" / "users.csv").rename(bucket / "logs" / "people.csv")
    with pytest.raises(LogError) as error:
        find_tables(tiny_config("csv"), data_dir)
    assert said in str(error.value)


def test_a_damaged_file_in_a_bucket_is_named(bucket: Path) -> None:
    write_logs(bucket / "logs", "parquet")
    (bucket / "logs" / "items.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(LogError) as error:
        find_tables(tiny_config("parquet"), "s3://easq/logs")
    assert str(error.value).startswith("s3://easq/logs/items.parquet: cannot be read (")
    assert str(error.value).endswith("check its name, the right to read it, and that it is whole")
