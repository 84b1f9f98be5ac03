"""What is in report.json, and where it comes from."""

import json

import pytest

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report import build_report
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
    assert set(differences) == {"popularity", "random"}


def test_slices_are_named(report):
    slices = {part["name"]: part for part in report["evaluation"]["slices"]}
    assert list(slices) == [
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
    assert report["push"] == {"pushed": True, "version": "17", "path": "serving_model/easq/17"}
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
