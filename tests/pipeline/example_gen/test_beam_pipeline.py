"""From Parquet files to the files of the Examples artifact, on Beam's in-process runner."""

import gzip
import json

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.example_gen.beam_pipeline import make_examples
from pipeline.example_gen.example_files import OutputFolder
from pipeline.example_gen.generate import generate_examples
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.readers import find_tables
from tests.pipeline.example_gen.small_logs import (
    HOUR,
    START,
    answer,
    config,
    impression,
    unexposed,
    write_parquet,
)
from tests.pipeline.example_gen.written import examples_in, files_under

NONE, DISSATISFIED, UNCERTAIN, SATISFIED = -1, 0, 1, 2
IN_PROCESS = ("--runner=FnApiRunner",)


def runner(*options):
    return lambda: beam.Pipeline(options=PipelineOptions([*(options or IN_PROCESS)]))


THREE_REQUESTS = [
    impression("r1", "u", "a", 0, position=1, behaviour_like=1),
    unexposed("r1", "u", "b", 0, position=2),
    impression("r2", "v", "b", 1, position=1, behaviour_like=1, behaviour_follow=1),
    impression("r2", "v", "a", 1, position=2, behaviour_like=1),
    impression("r3", "u", "c", 2, position=1, feature_tab="friends"),
    impression("r3", "u", "a", 2, position=2, behaviour_follow=1, feature_match=None),
    impression("r0", "u", "a", 3, position=1, behaviour_like=1),
    impression("r0", "u", "b", 3, position=2),
    impression("alone", "w", "a", 3, position=2),
]
# Of the nine rows those of hour 3.
THIRD_FOR_EVAL = config(split={"eval_fraction": 0.34})
ANSWERS = [
    answer("r1", "u", "a", 1, SATISFIED),
    answer("r3", "u", "c", 2, DISSATISFIED),
    answer("r3", "u", "a", 2, UNCERTAIN),
    answer("r0", "u", "a", 4, SATISFIED),
    answer("gone", "u", "a", 4, SATISFIED),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The examples of three requests in training and one in evaluation, and what was counted."""
    folder = tmp_path_factory.mktemp("example_gen")
    write_parquet(
        folder / "logs",
        THREE_REQUESTS,
        ANSWERS,
        users={"u": 20.0, "w": 1.0},
        items={"a": "author a", "b": "author b"},
    )
    report = generate_examples(THIRD_FOR_EVAL, str(folder / "logs"), str(folder / "made"), runner())
    return folder / "made", report


def test_the_examples_of_the_train_split(made):
    folder, _ = made
    ann, bob, again = examples_in(folder, "train")
    assert ann == {
        "request_id": [b"r1"],
        "user_id": [b"u"],
        "time": [START],
        "group_time": [START],
        "pair_group": [-1],
        "user_train_slates": [2],
        "age": [20.0],
        "tab": [b"home"],
        "item_id": [b"a", b"b"],
        "author": [b"author a", b"author b"],
        "match": [0.5, 0.5],
        "exposed": [1, 0],
        "played_seconds": [8.0, 0.0],
        "behaviour_like": [1, 0],
        "behaviour_follow": [0, 0],
        "behaviour_level": [1, -1],
        "answer": [SATISFIED, NONE],
        "popularity": [3.0, 1.0],
    }
    assert bob["age"] == [-1.0]  # not in the users table
    assert bob["item_id"] == [b"b", b"a"]
    assert bob["behaviour_level"] == [2, 1]
    assert again["author"] == [b"", b"author a"]  # c is not in the items table
    assert again["match"] == [0.5, 0.0]
    assert again["tab"] == [b"friends"]
    assert again["answer"] == [DISSATISFIED, UNCERTAIN]
    assert again["popularity"] == [0.0, 3.0]


def test_the_example_of_the_eval_split(made):
    folder, _ = made
    (slate,) = examples_in(folder, "eval")
    assert slate["request_id"] == [b"r0"]
    assert slate["answer"] == [SATISFIED, NONE]
    assert slate["popularity"] == [3.0, 1.0]  # what was liked in training


def test_the_examples_of_the_answered_split(made):
    folder, _ = made
    records = [
        (row["request_id"][0], row["pair_group"][0], row["group_time"][0], row["answer"])
        for row in examples_in(folder, "answered")
    ]
    both = START + 2 * HOUR
    assert records == [
        (b"r1", 0, START + HOUR, [SATISFIED, NONE]),
        (b"r1", 1, both, [SATISFIED, NONE]),
        (b"r3", 1, both, [DISSATISFIED, UNCERTAIN]),
    ]


def test_the_counts_are_written_and_add_up(made):
    folder, report = made
    assert json.loads((folder / "counts.json").read_text()) == report
    assert report["split_time_ms"] == START + 2 * HOUR + 1000
    assert report["impressions"] == {"read": 9, "used": 8, "rejected": {"slate_too_small": 1}}
    assert report["answers"] == {
        "read": 5,
        "joined": 4,
        "late": 0,
        "not_answered": 0,
        "satisfied": 2,
        "dissatisfied": 1,
        "uncertain": 1,
        "rejected": {"answer_without_impression": 1},
    }
    assert report["slates"] == {
        "read": 5,
        "train": 3,
        "eval": 1,
        "answered": 3,
        "rejected": {"slate_too_small": 1},
    }
    assert report["pair_groups"] == 2
    assert report["pairs"] == {"same_user": 1, "in_request": 0}
    assert report["users"] == report["items"] == {"read": 2, "used": 2, "rejected": {}}
    assert report["unknown"] == {"users": 1, "items": 1}
    assert report["missing"]["match"] == 1


def test_rejected_rows_are_dead_letters(made):
    folder, _ = made
    letters = [
        row
        for path in sorted((folder / "dead_letters").iterdir())
        for row in pq.read_table(path).to_pylist()
    ]
    assert [(row["table"], row["file"], row["row"], row["reason"]) for row in letters] == [
        ("impressions", "impressions0.parquet", 9, "slate_too_small"),
        ("questionnaires", "questionnaires.parquet", 5, "answer_without_impression"),
    ]
    ids = {"request_id": "gone", "user_id": "u", "item_id": "a"}
    assert json.loads(letters[1]["values"]) == ids


def many_rows():
    for number in range(40):
        for position, item in enumerate("abc"):
            user, hours = f"u{number % 7}", number / 4
            yield impression(f"r{number}", user, item, hours, position=position)


def make(folder, name, *, options=IN_PROCESS, shards=2, rows_per_file=10**6, files=1):
    """The files made from the same rows in a way that must not matter."""
    asked = [answer(f"r{n}", f"u{n % 7}", "b", n / 4 + 1, n % 3) for n in range(0, 40, 2)]
    logs = folder / f"{name} logs"
    write_parquet(logs, list(many_rows()), asked, files=files)
    dataset = config()
    output = OutputFolder(str(folder / name))
    with runner(*options)() as pipeline:
        tables = find_tables(dataset, logs, rows_per_part=20)
        make_examples(pipeline, dataset, tables, output, shards=shards, rows_per_file=rows_per_file)
    output.tidy()
    return files_under(folder / name)


def test_the_same_bytes_whatever_the_shards_workers_and_files(tmp_path):
    expected = make(tmp_path, "one shard", shards=1)
    assert list(expected) == [
        "Split-answered/slates-00000.tfrecord",
        "Split-eval/slates-00000.tfrecord",
        "Split-train/slates-00000.tfrecord",
        "counts.json",
        "dead_letters/questionnaires-00000.parquet",
    ]
    assert make(tmp_path, "shards", shards=5) == expected
    assert make(tmp_path, "files", files=3) == expected
    threads = "--direct_running_mode=multi_threading", "--direct_num_workers=3"
    assert make(tmp_path, "workers", options=(*IN_PROCESS, *threads)) == expected


def test_small_files_hold_the_same_records_in_the_same_order(tmp_path):
    one = make(tmp_path, "one file")
    several = make(tmp_path, "several files", rows_per_file=20)
    train = [content for name, content in several.items() if name.startswith("Split-train/")]
    assert len(train) > 3
    assert b"".join(train) == one["Split-train/slates-00000.tfrecord"]
    times = [row["time"][0] for row in examples_in(tmp_path / "several files", "train")]
    assert times == sorted(times)


def test_a_log_without_answers_has_an_empty_answered_split(tmp_path):
    write_parquet(tmp_path / "logs", THREE_REQUESTS, [])
    logs, made = str(tmp_path / "logs"), str(tmp_path / "made")
    report = generate_examples(THIRD_FOR_EVAL, logs, made, runner())
    assert report["slates"]["answered"] == 0
    assert list(examples_in(tmp_path / "made", "answered")) == []


def test_nothing_left_to_evaluate_on_is_an_error_with_the_reasons(tmp_path):
    write_parquet(tmp_path / "logs", THREE_REQUESTS[:2] + THREE_REQUESTS[-1:], [])
    with pytest.raises(LogError, match=r"no slate for the eval split.*slate_too_small 1") as error:
        generate_examples(config(), str(tmp_path / "logs"), str(tmp_path / "made"), runner())
    assert "dead_letters" in str(error.value)


def test_a_zipped_csv_without_request_ids_whose_answers_are_behaviours(tmp_path):
    day = 86_400_000
    lines = ["user,item,time_ms,played_ms,duration_ms,click,good,bad"]
    for number, items in enumerate(["ab", "cb", "a", "bc"]):
        for item in items:
            good = int(item == "b")
            time = START - START % day + number * day
            lines.append(f"{number % 2},{item},{time},8000,9000,1,{good},0")
    lines.append("1,a,yesterday,1,1,1,0,0")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))
    dataset = DatasetConfig.from_dict(
        {
            "name": "zipped",
            "tables": {"impressions": {"path": "log*.csv.gz"}},
            "columns": {
                "user_id": "user",
                "item_id": "item",
                "time": {"column": "time_ms"},
                "played": {"column": "played_ms"},
                "duration": {"column": "duration_ms"},
            },
            "questionnaire": {"from_behaviours": {"satisfied": "good", "dissatisfied": "bad"}},
            "behaviours": {"columns": ["click"], "positive": ["click"]},
            "slate": {"rebuild": {"by": "user_day"}},
            "features": [
                {"name": "user_id", "table": "impressions", "column": "user", "level": "user",
                 "kind": "id"},
                {"name": "item_id", "table": "impressions", "column": "item",
                 "level": "candidate", "kind": "id"},
            ],
            "split": {"eval_fraction": 0.3},
        }
    )  # fmt: skip
    report = generate_examples(dataset, str(tmp_path), str(tmp_path / "made"), runner())
    assert report["impressions"] == {
        "read": 8,
        "used": 6,
        "rejected": {"bad_time": 1, "slate_too_small": 1},
    }
    train = list(examples_in(tmp_path / "made", "train"))
    assert [row["item_id"] for row in train] == [[b"a", b"b"], [b"c", b"b"]]
    assert [row["answer"] for row in train] == [[NONE, SATISFIED], [NONE, SATISFIED]]
    (after,) = examples_in(tmp_path / "made", "eval")
    assert after["user_id"] == [b"1"]
    assert after["answer"] == [SATISFIED, NONE]
