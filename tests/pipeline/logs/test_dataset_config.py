"""A dataset config: what it takes, what it fills in, and how it refuses what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import (
    DatasetConfig,
    built_in_datasets,
    load_dataset_config,
)
from pipeline.logs.feature_config import FeatureConfig
from tests.pipeline.logs.tiny_logs import tiny_config


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        DatasetConfig.from_dict(values)
    return str(error.value)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tiny dataset with the setting at `path` set, or deleted if the value is `...`."""
    values = tiny_config().to_dict()
    *way, last = path.split(".")
    place: Any = values
    for key in way:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return values


def places(values: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every key of nested mappings: (dotted path of its mapping, the mapping, the key)."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield path, values, key
            yield from places(value, f"{path}.{key}" if path else key)
    if isinstance(values, list):
        for index, value in enumerate(values):
            yield from places(value, f"{path}[{index}]")


# --- what comes with the pipeline


def test_the_built_in_datasets() -> None:
    assert built_in_datasets() == ("kuairand", "simulated")


@pytest.mark.parametrize("name", built_in_datasets())
def test_a_built_in_dataset_survives_every_way_of_writing_it_down(
    name: str, tmp_path: Path
) -> None:
    config = load_dataset_config(name)
    assert config.name == name
    assert DatasetConfig.from_dict(config.to_dict()) == config
    assert DatasetConfig.from_json(config.to_json()) == config
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(config.to_dict()))
    assert load_dataset_config(own) == config


@pytest.mark.parametrize("name", built_in_datasets())
def test_every_misspelt_key_is_refused_with_its_path_and_the_right_spelling(name: str) -> None:
    whole = load_dataset_config(name).to_dict()
    for path, _, key in list(places(whole)):
        values = json.loads(json.dumps(whole))
        mapping, misspelt = next(
            (mapping, f"{key}{key[-1]}")
            for at, mapping, k in places(values)
            if (at, k) == (path, key)
        )
        mapping[misspelt] = mapping.pop(key)
        said = refusal(values)
        assert said.startswith(f"{path}.{misspelt}: " if path else f"{misspelt}: ")
        assert "found an unknown key; expected one of " in said
        assert said.endswith(f"; did you mean {key!r}?")


def test_an_unknown_dataset_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        load_dataset_config("kuairnd")
    assert str(error.value) == (
        "dataset: found 'kuairnd'; expected kuairand, simulated or the path of a .yaml file; "
        "did you mean 'kuairand'?"
    )


# --- files


def test_the_file_and_the_key_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(changed("features.0.kind", "nummeric")))
    with pytest.raises(ConfigError) as error:
        DatasetConfig.from_yaml(path)
    assert str(error.value) == (
        f"{path}: features[0].kind: found 'nummeric'; expected one of id, categorical, numeric; "
        "did you mean 'numeric'?"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: [", "line 1: found expected the node content, but found '<stream end>'"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: found the key 'a' is written twice; expected valid YAML"),
        (b"? [a]\n: 1\n", "line 1: found a key must be one word; expected valid YAML"),
        (b"- a\n", "found the list ['a']; expected a mapping with the keys name, tables, columns"),
        (b"", "found nothing; expected a mapping with the keys name, tables, columns"),
        (b"\xff", "codec can't decode byte 0xff"),
        (b"!!python/object/apply:os.getcwd []", "line 1: found could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        DatasetConfig.from_yaml(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_dataset_config(tmp_path / "mine.yaml")
    assert str(error.value) == (
        f"{tmp_path}/mine.yaml: found no such file; expected a readable YAML file in UTF-8"
    )


# --- what is filled in


def test_defaults_follow_from_the_kind() -> None:
    plain = {"name": "x", "table": "impressions", "level": "candidate"}
    made = {
        kind: FeatureConfig(**plain, kind=kind)  # type: ignore[arg-type]
        for kind in ("id", "categorical", "numeric")
    }
    assert {kind: (f.column, f.embedding, f.buckets, f.default) for kind, f in made.items()} == {
        "id": ("x", 64, 16384, ""),
        "categorical": ("x", 32, 1024, ""),
        "numeric": ("x", 8, 16, 0.0),
    }


def test_what_transform_makes_of_a_feature() -> None:
    price = FeatureConfig("price", "items", "candidate", "numeric", rank=True)
    assert price.transformed_names == ("price", "price_z", "price_rank")
    topic = FeatureConfig("topic", "items", "candidate", "categorical")
    assert topic.transformed_names == ("topic",)


def test_the_id_columns_of_users_and_items_are_those_of_the_impressions_unless_given() -> None:
    config = tiny_config()
    assert (config.users_key, config.items_key) == ("user", "item")
    named = DatasetConfig.from_dict(changed("tables.users.key", "member"))
    assert named.users_key == "member"


def test_features_by_table() -> None:
    config = tiny_config()
    names = {
        table: [feature.name for feature in config.features_of(table)]
        for table in ("users", "items", "impressions")
    }
    assert names == {"users": ["age"], "items": ["topic"], "impressions": ["price", "device"]}


# --- what is refused

REFUSED = [
    ("name", ..., "name: found nothing; expected text"),
    ("name", "", "name: found ''; expected a name for the dataset"),
    ("tables", 3, "tables: found 3; expected a mapping with the keys impressions, questionnaires"),
    ("tables.impressions", None, "tables.impressions: found nothing; expected a mapping"),
    ("tables.impressions.path", [], "tables.impressions.path: found the list []; expected at"),
    ("tables.impressions.path", "a.txt", "tables.impressions.path[0]: found 'a.txt'; expected a "),
    ("tables.impressions.path", "../a.csv", "path[0]: found '../a.csv'; expected a path inside"),
    ("tables.impressions.path", "/a.csv", "path[0]: found '/a.csv'; expected a path inside the"),
    ("tables.impressions.key", "id", "tables.impressions.key: found 'id'; expected no key here"),
    ("columns.user_id", ..., "columns.user_id: found nothing; expected text"),
    ("columns.time", "at", "columns.time: found 'at'; expected a mapping with the keys column, u"),
    ("columns.time.unit", "sec", "columns.time.unit: found 'sec'; expected one of s, ms, us, ns,"),
    ("columns.played.unit", "ns", "columns.played.unit: found 'ns'; expected one of s, ms, us"),
    ("columns.request_id", None, "slate.rebuild: found nothing; expected gap_minutes or by, as c"),
    ("slate.rebuild", {"gap_minutes": 5}, "slate.rebuild: found a rule; expected none, as colum"),
    ("questionnaire", {}, "questionnaire.columns: found nothing; expected columns and answers of"),
    ("questionnaire.answers", None, "questionnaire.answers: found nothing; expected columns and"),
    (
        "questionnaire.answers.satisfied",
        [True],
        "questionnaire.answers.satisfied[0]: found True; expected text: put it in quotes (YAML ",
    ),
    ("questionnaire.answers.satisfied", [], "satisfied: found the list []; expected at least one"),
    (
        "questionnaire.answers.uncertain",
        ["yes"],
        "questionnaire.answers.uncertain: found 'yes'; expected a value not listed before (it is "
        "under satisfied too)",
    ),
    (
        "questionnaire.from_behaviours",
        {"satisfied": "like", "dissatisfied": "hate"},
        "questionnaire.columns: found a mapping; expected none, as from_behaviours is given",
    ),
    ("tables.questionnaires", None, "tables.questionnaires: found nothing; expected the table "),
    ("trigger.min_played_seconds", -1, "trigger.min_played_seconds: found -1.0; expected 0 or mo"),
    ("trigger.min_played_fraction", 1.5, "found 1.5; expected between 0 and 1"),
    ("trigger.min_played_seconds", "7", "trigger.min_played_seconds: found '7'; expected a numbe"),
    ("trigger.min_played_seconds", float("nan"), "found nan; expected a finite number"),
    ("behaviours.positive", "lik", "found 'lik'; expected one of click, like; did you mean 'like"),
    ("behaviours.positive", [], "behaviours.positive: found the list []; expected at least one b"),
    ("behaviours.columns", ["like", "like"], "behaviours.columns[1]: found 'like'; expected each"),
    ("behaviours.max_level", 0, "behaviours.max_level: found 0; expected between 1 and 127"),
    ("behaviours.max_level", 1.5, "behaviours.max_level: found 1.5; expected a whole number"),
    ("behaviours.max_level", True, "behaviours.max_level: found True; expected a whole number"),
    ("behaviours.values", "any", "behaviours.values: found 'any'; expected one of binary, count"),
    ("pair_window.hours", 0, "pair_window.hours: found 0.0; expected more than 0"),
    ("pair_window.max_slates", 0, "pair_window.max_slates: found 0; expected 1 or more"),
    ("slate.min_candidates", 0, "slate.min_candidates: found 0; expected 1 or more"),
    ("slate.max_candidates", 1, "slate.max_candidates: found 1; expected 2 or more"),
    ("split.eval_fraction", 0, "split.eval_fraction: found 0.0; expected more than 0 and less th"),
    ("split.eval_fraction", 1, "split.eval_fraction: found 1.0; expected more than 0 and less th"),
    ("features.0.name", "Age", "features[0].name: found 'Age'; expected lower case letters, dig"),
    ("features.0.name", "mask", "features[0].name: found 'mask'; expected another name: the slat"),
    ("features.0.name", "behaviour_x", "features[0].name: found 'behaviour_x'; expected another"),
    ("features.0.name", "topic", "features[1].name: found 'topic'; expected another name: topic"),
    ("features.2.name", "age_z", "features[2].name: found 'age_z'; expected another name: age_z"),
    ("features.0.level", "candidate", "features[0].level: found 'candidate'; expected user for a"),
    ("features.0.buckets", 1, "features[0].buckets: found 1; expected 2 or more"),
    ("features.0.rank", True, "features[0].rank: found True; expected rank only with kind: num"),
    ("features.0.embedding", 16, "features[0].embedding: found 16; expected one of 64, 32, 8"),
    ("features.0.default", "old", "features[0].default: found 'old'; expected a finite number, a"),
    ("features.1.default", 0, "features[1].default: found 0.0; expected text (in quotes), as the"),
    ("tables.users", None, "features[0].table: found 'users'; expected a table that is given: ad"),
    ("features", [], "features: found the list []; expected at least one feature of level candi"),
    (
        "features.2.column",
        "like",
        "features[2].column: found 'like'; expected a column known before the item is shown; this "
        "one is the outcome (behaviours.columns)",
    ),
    ("features.2.column", "played", "this one is the outcome (columns.played)"),
    ("features.2.column", "shown", "this one is the outcome (columns.exposed)"),
    ("features.2.column", "truth", "this one is the outcome (columns.true_satisfaction)"),
    (
        "features.2.name",
        "item_id",
        "features[2].name: found 'item_id'; expected this name only for the id itself: column item",
    ),
]


@pytest.mark.parametrize(("path", "value", "said"), REFUSED)
def test_a_wrong_setting_is_refused_with_what_was_found_and_expected(
    path: str, value: Any, said: str
) -> None:
    assert said in refusal(changed(path, value))


FROM_BEHAVIOURS = {
    "name": "clicks",
    "tables": {"impressions": {"path": "log.csv"}},
    "columns": {
        "user_id": "user",
        "item_id": "item",
        "time": {"column": "at"},
        "played": {"column": "played"},
        "duration": {"column": "length"},
    },
    "questionnaire": {"from_behaviours": {"satisfied": "like", "dissatisfied": "hate"}},
    "behaviours": {"columns": "click", "positive": "click"},
    "slate": {"rebuild": {"gap_minutes": 30}},
    "features": [
        {
            "name": "item_id",
            "table": "impressions",
            "column": "item",
            "level": "candidate",
            "kind": "id",
        }
    ],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"behaviours": {"columns": ["click", "like"], "positive": "click"}},
            "questionnaire.from_behaviours.satisfied: found 'like'; expected a column that is not "
            "in behaviours.columns: the answer must stay out of the behaviour labels of its own ",
        ),
        (
            {"questionnaire": {"from_behaviours": {"satisfied": "like", "dissatisfied": "like"}}},
            "questionnaire.from_behaviours.dissatisfied: found 'like'; expected another column tha",
        ),
        (
            {"tables": {"impressions": {"path": "a.csv"}, "questionnaires": {"path": "b.csv"}}},
            "tables.questionnaires: found a mapping; expected none, as questionnaire.from_behav",
        ),
        (
            {"slate": {"rebuild": {}}},
            "slate.rebuild: found neither; expected one of gap_minutes",
        ),
        (
            {"slate": {"rebuild": {"gap_minutes": 3, "by": "user_day"}}},
            "slate.rebuild: found gap_minutes and by; expected one of gap_minutes and by",
        ),
        (
            {"slate": {"rebuild": {"gap_minutes": 0}}},
            "slate.rebuild.gap_minutes: found 0.0; exp",
        ),
        (
            {"slate": {"rebuild": {"by": "user_day", "utc_offset_hours": 24}}},
            "slate.rebuild.utc_offset_hours: found 24.0; expected between -24 and 24",
        ),
        (
            {
                "features": [
                    *FROM_BEHAVIOURS["features"],
                    {
                        "name": "hated",
                        "table": "impressions",
                        "column": "hate",
                        "level": "candidate",
                        "kind": "numeric",
                    },
                ]
            },
            "this one is the outcome (questionnaire.from_behaviours.dissatisfied)",
        ),
    ],
)
def test_logs_without_request_ids_and_questionnaires(change: dict[str, Any], said: str) -> None:
    DatasetConfig.from_dict(FROM_BEHAVIOURS)
    assert said in refusal({**FROM_BEHAVIOURS, **change})


# --- round trips

NAMES = st.text(min_size=1, max_size=12)


@given(
    name=NAMES,
    user=NAMES,
    unit=st.sampled_from(["s", "ms", "us", "ns", "iso8601"]),
    satisfied=st.lists(st.one_of(st.integers(), NAMES), min_size=1, max_size=3, unique_by=str),
    hours=st.floats(0.001, 1e6),
    widths=st.tuples(st.integers(1, 50), st.integers(2, 400)).filter(lambda w: w[0] <= w[1]),
    default=st.floats(allow_nan=False, allow_infinity=False),
    buckets=st.one_of(st.none(), st.integers(2, 10**6)),
    embedding=st.sampled_from([None, 64, 32, 8]),
)
def test_a_config_survives_json(
    name: str,
    user: str,
    unit: str,
    satisfied: list[int | str],
    hours: float,
    widths: tuple[int, int],
    default: float,
    buckets: int | None,
    embedding: int | None,
) -> None:
    values = tiny_config().to_dict()
    values["name"] = name
    values["columns"]["user_id"] = user
    values["columns"]["time"]["unit"] = unit
    refused = {str(value) for value in satisfied}
    values["questionnaire"]["answers"] = {
        "satisfied": satisfied,
        "dissatisfied": [next(word for word in ("no", "bad", "none", "x") if word not in refused)],
    }
    values["pair_window"]["hours"] = hours
    values["slate"] |= {"min_candidates": widths[0], "max_candidates": widths[1]}
    values["features"][0] |= {"default": default, "buckets": buckets, "embedding": embedding}
    config = DatasetConfig.from_dict(values)
    assert DatasetConfig.from_json(config.to_json()) == config
    assert DatasetConfig.from_dict(config.to_dict()).to_json() == config.to_json()
