"""`easq run --tune`: the search in the pipeline, its record, and a model trained with its best."""

import json

import pytest

from tests.e2e.conftest import easq

pytestmark = pytest.mark.slow


def test_a_search_chooses_the_settings_that_are_trained_and_tells_all_trials(
    finished_run, tmp_path
):
    settings = tmp_path / "run.yaml"
    settings.write_text("trainer: {jit_compile: false}\ntuning: {behaviour_loss: 1.0}")
    workdir = tmp_path / "run"
    done = easq(
        *("run", "--data-dir", finished_run.logs, "--workdir", workdir),
        *("--settings", settings, "--method", "Imputation", "--tune", "--trials", "3"),
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    tuning, training = report["tuning"], report["training"]
    assert len(tuning["trials"]) == 3
    budget = tuning["budget"]
    used = budget["training_slates"] + budget["validation_slates"]
    assert used == report["counts"]["slates"]["train"]
    chosen = tuning["trials"][tuning["chosen"]]["values"]
    assert training["method"] == "Imputation"
    assert training["trade_off"] == {"shaping": pytest.approx(chosen["shaping"])}
    assert {name: training["settings"][name] for name in chosen} == chosen
    assert tuning["sentence"].split("(")[0] in " ".join(done.stderr.split())
    assert "SettingsSearch" in {step["name"] for step in report["steps"]}
    assert report["infra_check"]["passed"]
