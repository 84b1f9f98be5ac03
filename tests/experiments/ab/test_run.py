"""The loop of days: real servers and clients, with a stand-in for training."""

import json
import os
import signal

import pytest

from experiments.ab import arms
from experiments.ab.arms import Arm, ArmError
from experiments.ab.page import write_page
from experiments.ab.ranking import RequestFeatures
from experiments.ab.run import run_ab
from experiments.ab.settings import ABSettings
from pipeline.logs.dataset_config import load_dataset_config
from simulator import World
from tests.experiments.ab.served_models import PlainLearner, save_ranker

TINY = ABSettings(
    users=60,
    items=400,
    requests_per_day=80,
    history_days=1,
    warm_up_days=1,
    days=1,
    spans_per_day=2,
    resplits=3,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A test that ran without a stop: its folder and report."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_ab(TINY, folder, make_learner=PlainLearner)


def test_every_span_is_learnt_and_the_next_one_served_by_what_was_learnt(whole):
    folder, report = whole
    for name in ("control", "treatment"):
        spans = sorted(path.name for path in (folder / name / "spans").iterdir() if path.is_dir())
        assert spans == ["span-00001", "span-00002", "span-00003", "span-00004"]
        # The history and all but the last span, after which nobody asks.
        assert [step["version"] for step in report["learnt"][name]] == [1, 2, 3, 4]
    rows = [
        sum(report["learnt"][name][span]["counts"]["impressions"] for name in report["learnt"])
        for span in range(4)
    ]
    assert rows == [2 * 80 * 12, *[40 * 12] * 3]  # both learn the whole history


def test_the_report_is_complete_and_plain(whole):
    folder, report = whole
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    users = report["split"]["assigned"]
    assert users["control"] + users["treatment"] == 60
    names = [row["metric"] for row in report["lifts"]]
    assert {"retention", "stay_time", "satisfied", "true_satisfaction"} <= set(names)
    assert [day["measured"] for day in report["daily"]] == [False, True]
    assert report["resplits"]["splits"] == 3
    # The treatment ranks by likes, which follow satisfaction; the control by watching.
    truth = next(row for row in report["lifts"] if row["metric"] == "true_satisfaction")
    assert truth["difference"]["value"] > 0

    page = write_page(report, folder).read_text(encoding="utf-8")
    assert page.startswith("# EASQ against EMER\n")
    assert all(f"| {row['title']}" in page for row in report["lifts"])
    assert (folder / "lifts.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (folder / "days.svg").exists()


def test_a_stopped_test_goes_on_and_ends_like_one_that_was_not(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(PlainLearner, "fails_at", 2)
    with pytest.raises(ArmError, match=r"control arm: training failed.*no space left on device"):
        run_ab(TINY, tmp_path, make_learner=PlainLearner)
    monkeypatch.setattr(PlainLearner, "fails_at", None)
    steps = []

    class Recorded:
        def __init__(self, name):
            steps.append(name)

        def __enter__(self):
            return lambda detail: None

        def __exit__(self, *_):
            return None

    report = run_ab(TINY, tmp_path, step=Recorded, make_learner=PlainLearner)
    assert steps[:4] == ["First fits", "Servers", "Span 2 of 4, training", "Span 3 of 4, traffic"]
    assert report == whole[1]


def test_a_folder_with_another_test_is_refused(whole):
    folder, _ = whole
    other = ABSettings(**{**TINY.to_dict(), "seed": 1})
    with pytest.raises(RuntimeError, match="holds a test with other settings"):
        run_ab(other, folder, make_learner=PlainLearner)


def test_a_server_that_dies_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "_CALL_SECONDS", 2.0)
    save_ranker(tmp_path / "model" / "7", 0.5)
    world = World(TINY.world())
    requests = world.requests(3)
    with Arm("treatment", tmp_path / "arm", tmp_path / "model", None) as arm:
        arm.launch()
        arm.serve(RequestFeatures(world, load_dataset_config("simulated")))
        order = arm.order(requests, [0, 2])
        expected = 0.5 * (requests.p_watch + requests.p_like)
        assert order.tolist() == (-expected[[0, 2]]).argsort(axis=1, kind="stable").tolist()
        assert arm.version == 7
        os.kill(arm.server_pid, signal.SIGKILL)
        with pytest.raises(ArmError, match=r"treatment arm: its model server.*server\.log"):
            arm.order(requests, [1])
