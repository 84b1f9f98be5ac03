"""The whole of it, small: the pipeline's first fits, the online engine, servers, reactions."""

import json

import pyarrow.parquet as pq
import pytest

from experiments.ab.learner import OnlineLearner
from experiments.ab.run import run_ab
from experiments.ab.settings import ABSettings
from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import load_dataset_config


@pytest.mark.slow
def test_two_arms_learn_from_their_own_users_and_serve_what_they_learnt(tmp_path):
    # XLA would take longer to compile than these few steps take to run.
    run = {"trainer": {"jit_compile": False, "steps_per_execution": 1}}
    run["gate"] = {"min_gain_over_random": -1.0}
    arms = {}
    for arm, method in (("control", "EMER"), ("treatment", "EASQ")):
        run["trainer"]["method"] = method
        arms[arm] = str(tmp_path / f"{arm}.yaml")
        (tmp_path / f"{arm}.yaml").write_text(json.dumps(run), encoding="utf-8")
    settings = ABSettings(
        **arms,
        users=200,
        items=800,
        requests_per_day=400,
        issue_rate=0.3,
        answer_rate=0.5,
        history_days=2,
        warm_up_days=0,
        days=3,
        resplits=0,
    )
    report = run_ab(settings, tmp_path / "ab")

    for name in arms:
        steps = report["learnt"][name]
        assert len(steps) == 3  # the history and two spans; after the third nobody asks
        versions = [step["version"] for step in steps if step["version"] is not None]
        assert versions == sorted(set(versions))
        for number, step in enumerate(steps[1:], start=1):
            log = tmp_path / "ab" / name / "spans" / f"span-{number:05d}"
            rows = pq.read_metadata(log / "impressions.parquet").num_rows
            assert step["counts"]["impressions"]["used"] == rows > 0
            answers = pq.read_table(log / "questionnaires.parquet")
            assert step["counts"]["answers"]["read"] == answers.num_rows > 0

    # A span that was learnt before a stop is known, not learnt again.
    learner = OnlineLearner(
        tmp_path / "ab" / "treatment",
        load_dataset_config("simulated"),
        RunSettings.from_yaml(arms["treatment"]),
    )
    try:
        again = learner.learn(tmp_path / "ab" / "treatment" / "spans" / "span-00002").result()
    finally:
        learner.close()
    assert (again.version, again.verdict) == (steps[2]["version"], steps[2]["verdict"])
