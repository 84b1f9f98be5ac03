"""User ids that leave the logs as keyed hashes."""

import json
import pickle
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.readers import find_tables
from pipeline.logs.user_ids import UserIdKey
from tests.pipeline.example_gen.small_logs import answer, config, impression
from tests.pipeline.example_gen.written import files_under
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    question,
    read_all,
    tiny_config,
    write_table,
)
from tests.pipeline.logs.tiny_logs import (
    impression as tiny_impression,
)
from tests.pipeline.online.span_folders import learn, records, write_span

KEY = b"k" * 32
# The first 32 digits of: printf %s person-1 | openssl dgst -sha256 -hmac kkkkkkkk…
PERSON_1 = UserIdKey(KEY).hash("person-1")


def keyed(tmp_path: Path, dataset: DatasetConfig, key: bytes = KEY) -> DatasetConfig:
    (tmp_path / "key").write_bytes(key)
    privacy = {"user_id_key_file": str(tmp_path / "key")}
    return DatasetConfig.from_dict({**dataset.to_dict(), "privacy": privacy})


def test_the_hash_is_hmac_sha256_as_every_other_tool_makes_it() -> None:
    command = ["openssl", "dgst", "-sha256", "-hmac", KEY.decode()]
    said = subprocess.run(command, input=b"person-1", capture_output=True, check=True).stdout
    assert said.decode().split()[-1][:32] == PERSON_1


def test_ids_of_any_type_join() -> None:
    key = UserIdKey(KEY)
    assert key.hash_all(pa.array(["7", None, "7", "8"])).to_pylist() == [
        key.hash("7"),
        None,
        key.hash("7"),
        key.hash("8"),
    ]
    assert key.hash_value(7) == key.hash_value(b"7") == key.hash("7")
    assert key.hash_value(None) is None
    assert UserIdKey(KEY + b"!").hash("7") != key.hash("7")


@pytest.mark.parametrize("form", FORMATS)
def test_rows_and_dead_letters_hold_hashes_only(tmp_path: Path, form: str) -> None:
    changes = {
        "features": [
            {"name": "user_id", "table": "impressions", "column": "user", "level": "user",
             "kind": "id"},
            {"name": "who", "table": "users", "column": "user", "level": "user", "kind": "id"},
            {"name": "price", "table": "impressions", "level": "candidate", "kind": "numeric"},
        ]
    }  # fmt: skip
    dataset = keyed(tmp_path, tiny_config(form, **changes))
    mine = {"user": "person-1"}
    write_table(
        tmp_path / f"impressions.{form}",
        [tiny_impression(**mine), tiny_impression(**mine, played=-1.0)],
    )
    write_table(tmp_path / f"questionnaires.{form}", [question(**mine), question(answer="?")])
    write_table(tmp_path / f"users.{form}", [mine, mine])
    found = {
        table: read_all(dataset, table, tmp_path)
        for table in ("impressions", "questionnaires", "users")
    }
    assert "person-1" not in json.dumps(str(found))
    (row,), (letter,), _ = found["impressions"]
    assert row["user_id"] == row["feature_user_id"] == PERSON_1
    assert {**letter["values"], "played": None} == {"user": PERSON_1, "item": "i1", "played": None}
    assert found["questionnaires"][0][0]["user_id"] == PERSON_1
    (user,), (copy,), _ = found["users"]
    assert user["id"] == user["feature_who"] == PERSON_1
    assert copy["values"] == {"user": PERSON_1}


def test_an_id_that_cannot_be_read_is_hashed_too(tmp_path: Path) -> None:
    dataset = keyed(tmp_path, tiny_config("csv"))
    write_table(tmp_path / "impressions.csv", [tiny_impression(user="person-\udcff")])
    _, (letter,), _ = read_all(dataset, "impressions", tmp_path)
    assert letter["reason"] == "bad_user_id"
    assert letter["values"] == {"user": UserIdKey(KEY).hash(b"person-\xff"), "item": "i1"}


def test_spans_join_by_the_hashes_and_no_file_holds_an_id(tmp_path: Path) -> None:
    dataset = keyed(tmp_path, config())
    spans = [
        write_span(tmp_path, "1", [impression("r1", "person-1", item, 0) for item in "ab"], []),
        write_span(
            tmp_path,
            "2",
            [impression("r2", "person-1", item, 5) for item in "ab"],
            [answer("r1", "person-1", "b", 6, 2), answer("r9", "person-1", "b", 6, 2)],
        ),
    ]
    reports = learn(tmp_path, spans, dataset)
    assert reports[1]["answers"]["late_used"] == 1
    (answered,) = records(tmp_path, spans, "answered")
    assert answered["user_id"] == [PERSON_1.encode()]
    for name in ("1", "2", "1-store", "2-store"):
        for file, content in files_under(tmp_path / name).items():
            assert b"person-1" not in content, file
            assert KEY not in content, file


def test_another_key_is_refused_by_the_store_of_earlier_spans(tmp_path: Path) -> None:
    from pipeline.online.impression_store import ImpressionStore
    from pipeline.online.spans import SpanError

    span = write_span(tmp_path, "1", [impression("r1", "u", item, 0) for item in "ab"], [])
    learn(tmp_path, [span], keyed(tmp_path, config()))
    for other in (config(), keyed(tmp_path, config(), b"x" * 32)):
        with pytest.raises(SpanError, match="hashed with another key, or not hashed; give the key"):
            ImpressionStore.open(tmp_path / "1-store", other)
    ImpressionStore.open(tmp_path / "1-store", keyed(tmp_path, config()))


def test_the_key_file_lies_beside_the_config(tmp_path: Path) -> None:
    text = json.dumps({**tiny_config().to_dict(), "privacy": {"user_id_key_file": "my.key"}})
    (tmp_path / "logs.yaml").write_text(text)
    (tmp_path / "my.key").write_bytes(KEY + b" \n")
    dataset = DatasetConfig.from_yaml(tmp_path / "logs.yaml")
    key = dataset.privacy.user_id_key()
    assert key is not None
    assert key.hash("person-1") == PERSON_1
    again = DatasetConfig.from_json(dataset.to_json())
    assert again.privacy.user_id_key_file == str(tmp_path / "my.key")
    assert KEY.decode() not in dataset.to_json() + repr(key)


def test_without_a_good_key_nothing_is_read(tmp_path: Path) -> None:
    dataset = keyed(tmp_path, tiny_config(), b"s3cret\n")
    with pytest.raises(ConfigError, match="a key of 6 bytes; expected 32 bytes or more") as refused:
        find_tables(dataset, tmp_path)
    assert "s3cret" not in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match=r"key_file: found .*key \(No such file"):
        find_tables(dataset, tmp_path)


def test_a_hash_is_no_number() -> None:
    features = [
        {"name": "price", "table": "impressions", "level": "candidate", "kind": "numeric"},
        {"name": "number", "table": "impressions", "column": "user", "level": "user",
         "kind": "numeric"},
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"features\[1\].kind: found 'numeric'.*are hashed"):
        tiny_config(features=features, privacy={"user_id_key_file": "key"})
