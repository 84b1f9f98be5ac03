"""What docs/bring-your-own-logs.md promises, with the YAML that is printed there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.example_gen import answers, slates
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from pipeline.logs.readers import find_tables
from tests.pipeline.logs import test_readers
from tests.pipeline.logs.tiny_logs import read_all, write_table

PAGE = (Path(__file__).parents[3] / "docs" / "bring-your-own-logs.md").read_text(encoding="utf-8")
WHOLE, NO_REQUEST_ID, NO_QUESTIONNAIRE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

PLAY = {
    "session": "s1",
    "member": 17,
    "clip": "c9",
    "played_at": "2024-05-01T12:00:00+02:00",
    "slot": 0,
    "was_shown": 1,
    "watched": 12.5,
    "length": 20,
    "liked": 1,
    "shared": 0,
    "favourited": 1,
    "reported": 0,
    "hour": 12,
    "predicted_watch": 0.4,
}
SURVEY = {
    "session": "s1",
    "member": 17,
    "clip": "c9",
    "asked_at": "2024-05-01T10:01:00Z",
    "answered_at": "2024-05-01T10:01:30Z",
    "stars": 5,
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_table(tmp_path / "plays-2024-05.csv.gz", [PLAY, {**PLAY, "clip": "c8", "slot": 1}])
    write_table(tmp_path / "plays-2024-06.csv.gz", [{**PLAY, "watched": -1}])
    not_answered = {**SURVEY, "answered_at": None, "stars": None}
    write_table(tmp_path / "survey.csv", [SURVEY, not_answered])
    write_table(tmp_path / "members.parquet", [{"id": 17, "country": "NL"}])
    write_table(tmp_path / "clips.csv", [{"clip": "c9", "genre": "cats"}])
    return tmp_path


def changed(change: str, *removed: str) -> DatasetConfig:
    values: dict[str, Any] = {**yaml.safe_load(WHOLE), **yaml.safe_load(change)}
    for path in removed:
        group, key = path.split(".")
        del values[group][key]
    return DatasetConfig.from_dict(values)


def test_the_printed_dataset_reads_such_logs(logs: Path) -> None:
    (logs / "my_logs.yaml").write_text(WHOLE)
    config = load_dataset_config(logs / "my_logs.yaml")
    assert set(find_tables(config, logs)) == {"impressions", "questionnaires", "users", "items"}
    plays, letters, _ = read_all(config, "impressions", logs)
    assert [(row["user_id"], row["item_id"], row["position"]) for row in plays] == [
        ("17", "c9", 0),
        ("17", "c8", 1),
    ]
    assert {row["time_ms"] for row in plays} == {1_714_557_600_000}  # 10:00 UTC
    assert (plays[0]["played_s"], plays[0]["duration_s"]) == (12.5, 20.0)
    assert [(row["file"], row["row"], row["reason"]) for row in letters] == [
        ("plays-2024-06.csv.gz", 1, "negative_played")
    ]
    asked, _, _ = read_all(config, "questionnaires", logs)
    assert [row["answer"] for row in asked] == [2, -1]
    users, _, _ = read_all(config, "users", logs)
    assert [(row["id"], row["feature_country"]) for row in users] == [("17", "NL")]
    items, _, _ = read_all(config, "items", logs)
    assert [(row["id"], row["feature_genre"]) for row in items] == [("c9", "cats")]


def test_slates_may_be_rebuilt_from_time(logs: Path) -> None:
    values = yaml.safe_load(WHOLE)
    del values["columns"]["request_id"], values["questionnaire"]["columns"]["request_id"]
    config = DatasetConfig.from_dict({**values, **yaml.safe_load(NO_REQUEST_ID)})
    plays, _, _ = read_all(config, "impressions", logs)
    assert [row["request_id"] for row in plays] == [None, None]


def test_two_behaviours_may_stand_in_for_the_questionnaire(logs: Path) -> None:
    config = changed(NO_QUESTIONNAIRE, "tables.questionnaires")
    plays, _, _ = read_all(config, "impressions", logs)
    assert [row["answer"] for row in plays] == [2, 2]


def test_every_reason_is_explained() -> None:
    _, table = PAGE.split("| reason | the row |")
    explained = set(re.findall(r"`([a-z_]+)`", table.split("\n\n")[0]))
    marks = [
        mark
        for test in vars(test_readers).values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "parametrize" and "reason" in mark.args[0]
    ]
    tested = {case[mark.args[0].index("reason")] for mark in marks for case in mark.args[1]}
    later = {
        value
        for module in (answers, slates)
        for name, value in vars(module).items()
        if name.isupper() and name[0] != "_" and isinstance(value, str)
    }
    assert (len(tested) > 30, len(later) > 10) == (True, True)
    assert (tested | later) - explained == {"late"}
