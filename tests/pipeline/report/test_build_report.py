"""What is in report.json, and where it comes from."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report import build_report
from pipeline.report.repeat import examples_digest
from pipeline.run_artifacts import RunArtifact
from tests.pipeline.report.conftest import report_of
from tests.pipeline.slate_stubs import DATASET


def test_report_is_strict_json(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_run_says_how_it_can_be_repeated(report):
    run = report["run"]
    assert run["command"] == "easq run --dataset <stub>"
    assert (run["method"], run["seed"]) == ("EASQ", 0)
    assert DatasetConfig.from_dict(run["dataset_config"]) == DatasetConfig.from_dict(DATASET)
    assert RunSettings.from_dict(run["settings"]) == RunSettings()
    assert run["versions"]["keras"].startswith("3.")
    environment = run["environment"]
    assert environment["packages"]["keras"] == run["versions"]["keras"]
    assert environment["python"].startswith("3.")
    assert environment["cores"] >= 1
    assert environment["processor"]


def test_run_says_which_code_and_which_data_it_was(report, tmp_path):
    assert len(report["run"]["environment"]["code_sha256"]) == 64
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "a").write_bytes(b"one")
    (tmp_path / "counts.json").write_text("not looked at")
    line = f"{hashlib.sha256(b'one').hexdigest()}  Split-train/a\n"
    digest = examples_digest(tmp_path)
    assert digest == hashlib.sha256(line.encode()).hexdigest()
    (tmp_path / "Split-train" / "a").write_bytes(b"two")
    assert examples_digest(tmp_path) != digest


def test_steps_keep_their_order_and_say_what_was_cached(report):
    assert report["steps"] == [
        {"name": "LogExampleGen", "seconds": 3.25, "cached": True},
        {"name": "Trainer", "seconds": 22.0, "cached": False},
    ]


def test_evaluation_is_by_ranker_and_metric(report):
    rankers = report["evaluation"]["overall"]["rankers"]
    assert list(rankers) == ["model", "popularity", "random", "oracle", "last_blessed"]
    entry = rankers["model"]["pair_accuracy"]
    assert entry == {"mean": 1.0, "low": 1.0, "high": 1.0, "n_users": 4, "n_pairs": 4}
    assert rankers["popularity"]["pair_accuracy"]["mean"] == 0.5
    assert rankers["last_blessed"]["pair_accuracy"]["mean"] == 0.0
    assert rankers["oracle"]["true_ndcg@5"]["mean"] == 1.0


def test_differences_are_to_the_other_rankings(report):
    differences = report["evaluation"]["overall"]["differences"]
    assert differences["popularity"]["pair_accuracy"]["mean"] == 0.5
    assert list(differences) == ["last_blessed", "popularity", "random"]
    # Every user's pair is the other way round with the last blessed model.
    assert differences["last_blessed"]["pair_accuracy"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_draws_are_kept_for_comparisons_with_other_runs(report):
    draws = report["evaluation"]["draws"]
    assert len(draws["by_metric"]["pair_accuracy"]) == 1000
    assert set(draws["by_metric"]["pair_accuracy"]) == {1.0}


def test_times_and_anomalies_of_the_splits(report):
    assert report["times"] == {
        "train": {"first_ms": 0, "last_ms": 60_000},
        "eval": {"first_ms": 60_000, "last_ms": 90_000},
    }
    assert report["anomalies"] == {
        "train": {"features": 3, "anomalies": 0},
        "eval": {"features": 3, "anomalies": 1},
    }


def test_lineage_names_every_artifact_by_its_place_in_the_run(report):
    lineage = report["lineage"]
    assert lineage["logs"] == "/data/logs"
    assert lineage["artifacts"]["Trainer"] == {"model_run": "model_run"}
    assert lineage["artifacts"]["LogExampleGen"] == {"examples": "examples"}


def test_a_step_from_a_run_of_an_earlier_version_says_what_to_do(artifacts, tmp_path):
    old = {"model_run": RunArtifact(str(tmp_path), {}, True)}
    with pytest.raises(FileNotFoundError, match=r"training\.json is not there.*--no-cache"):
        report_of({**artifacts, "Trainer": old})


def test_slices_are_named(report):
    slices = {part["name"]: part for part in report["evaluation"]["slices"]}
    assert list(slices) == [
        "answered_quality: 0.0625-0.125",
        "answered_quality: 0.5-1",
        "device: phone",
        "user_activity: new",
        "user_activity: 1-4",
        "user_activity: 5-19",
    ]
    assert slices["user_activity: 1-4"]["data"]["users"] == 2


def test_what_is_not_known_is_null(report):
    new = next(part for part in report["evaluation"]["slices"] if part["name"].endswith("new"))
    # One user: no interval.
    assert new["rankers"]["model"]["pair_accuracy"]["low"] is None


def test_verdict_and_push(report):
    assert report["verdict"]["blessed"]
    assert report["verdict"]["sentence"].startswith("Blessed: ")
    assert report["push"] == {
        "pushed": True,
        "version": "17",
        "path": "serving_model/easq/17",
        "card": "serving_model/easq/17/assets.extra/model_card.html",
    }
    assert report["infra_check"]["requests"] == 64


def test_funnel_goes_from_impressions_to_pairs(report):
    assert [(step["name"], step["count"]) for step in report["funnel"]] == [
        ("impressions used", 1000),
        ("questionnaires issued", 50),
        ("answered", 20),
        ("joined to an impression", 18),
        ("satisfied or dissatisfied", 12),
        ("pairs of one user's answers", 4),
    ]
    assert report["funnel"][1]["share_of_previous"] == 0.05


def test_behaviour_lift_counts_every_answer_once(report):
    like = report["behaviour_lift"]["like"]
    assert like["rate"] == pytest.approx(0.25)
    satisfied, dissatisfied = like["satisfied"], like["dissatisfied"]
    # Satisfied: r1, r2, r3, r4 with 3 likes. Dissatisfied: r1, r3 with none.
    assert (satisfied["n_answers"], dissatisfied["n_answers"]) == (4, 2)
    assert satisfied["rate"] == 0.75
    assert satisfied["lift"] == pytest.approx(2.0)
    assert satisfied["low"] < 2.0 <= satisfied["high"]
    assert dissatisfied["lift"] == -1.0


def test_a_component_that_did_not_run_is_an_error(artifacts):
    without = {name: value for name, value in artifacts.items() if name != "Evaluator"}
    with pytest.raises(KeyError, match="Evaluator"):
        build_report(
            root=Path(),
            artifacts=without,
            dataset=DatasetConfig.from_dict(DATASET),
            settings=RunSettings(),
            seconds={},
            command="easq run",
        )


def test_the_search_is_told_where_there_was_one(report, tuned_artifacts):
    assert report["tuning"] is None
    tuning = report_of(tuned_artifacts)["tuning"]
    assert tuning["trials"][tuning["chosen"]]["values"] == {"lambda_dpo": 1.25, "lora_rank": 16}
    assert [trial["true_top4"] for trial in tuning["trials"]] == [0.3, None]
