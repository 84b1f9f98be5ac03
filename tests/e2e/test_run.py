"""What `easq run` leaves behind and says, judged as its user would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.run_artifacts import last_run_artifacts
from pipeline.server_process import ServerProcess
from tests.e2e.conftest import REQUESTS, easq
from tests.page_rules import PageRules

COMPONENTS = [
    "SlateSchemaGen",
    "LogExampleGen",
    "StatisticsGen",
    "StoppingExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraCheck",
    "Pusher",
]


def pushed_version(run):
    (version,) = (run.workdir / "serving_model" / "easq").iterdir()
    return version


def test_every_component_is_timed_in_the_report_and_on_the_terminal(finished_run):
    timed = {step["name"]: step["seconds"] for step in finished_run.report["steps"]}
    for component in COMPONENTS:
        assert component in timed
        assert re.search(rf"{component} +\d+\.\d s", finished_run.printed)
    assert timed["Trainer"] > 0.5


def test_rows_read_are_rows_used_or_rejected_with_a_reason(finished_run):
    counts = finished_run.report["counts"]
    impressions = counts["impressions"]
    assert impressions["read"] == REQUESTS * 12
    assert impressions["read"] == impressions["used"] + sum(impressions["rejected"].values())
    answers = counts["answers"]
    rejected = sum(answers["rejected"].values())
    assert answers["read"] == (
        answers["joined"] + answers["late"] + answers["not_answered"] + rejected
    )
    assert answers["joined"] == (
        answers["satisfied"] + answers["dissatisfied"] + answers["uncertain"]
    )
    slates = counts["slates"]
    assert slates["train"] + slates["eval"] + sum(slates["rejected"].values()) == REQUESTS


def test_every_slate_of_the_train_split_was_trained_on(finished_run):
    training, counts = finished_run.report["training"], finished_run.report["counts"]
    batch = finished_run.report["run"]["settings"]["trainer"]["batch_size"]
    assert training["steps"] == -(-counts["slates"]["train"] // batch)
    assert 0 < training["pair_coverage"]["share_of_batches"] <= 1
    assert training["pair_coverage"]["pairs_per_batch"] > 0
    assert "of batches with a pair" in finished_run.printed


@pytest.mark.parametrize("metric", ["pair_accuracy", "true_top4"])
@pytest.mark.parametrize("ranker", ["popularity", "random"])
def test_the_model_satisfies_more_than_simple_rankings(finished_run, metric, ranker):
    rankers = finished_run.report["evaluation"]["overall"]["rankers"]
    assert rankers["model"][metric]["mean"] > rankers[ranker][metric]["mean"]


def test_the_model_was_blessed_and_the_reason_is_one_sentence(finished_run):
    verdict = finished_run.report["verdict"]
    assert verdict["blessed"]
    assert verdict["sentence"].startswith("Blessed: pair accuracy")
    assert verdict["sentence"] in finished_run.printed.replace("\n", " ").replace("  ", " ")


def test_the_pushed_model_brings_its_warm_up(finished_run):
    version = pushed_version(finished_run)
    assert finished_run.report["push"]["version"] == version.name
    warmup = version / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(warmup))
    ]
    signatures = {log.predict_log.request.model_spec.signature_name for log in logs}
    assert signatures == {"serving_default", "serving_examples"}


def test_the_pushed_model_brings_its_model_card(finished_run):
    version = pushed_version(finished_run)
    card = json.loads((version / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
    assert card["version"] == version.name
    assert card["evaluation"]["overall"] == finished_run.report["evaluation"]["overall"]
    assert str(finished_run.report["counts"]["answers"]["read"]) in (
        " ".join(card["ethics"]).replace(",", "")
    )


def test_event_files_hold_the_curves_of_the_report(finished_run):
    model_run = finished_run.report["lineage"]["artifacts"]["Trainer"]["model_run"]
    events = EventAccumulator(str(finished_run.workdir / model_run), {"tensors": 0}).Reload()
    history = finished_run.report["training"]["history"]
    for tag in ("loss/main", "loss/dpo", "rewards/margins", "pairs/share_of_batches"):
        found = [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]
        assert found == pytest.approx(history[tag], rel=1e-5)
        assert len(found) > 3


def test_the_lines_of_the_page_open_tfma_and_tfdv(finished_run):
    """Those of docs/report.md, with the folders of this run."""
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    artifacts = finished_run.report["lineage"]["artifacts"]
    for step in artifacts.values():
        for folder in step.values():
            lines = re.sub(rf"{re.escape(str(Path(folder).parent))}/\d+", folder, lines)
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=finished_run.workdir, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    accuracy = finished_run.report["evaluation"]["overall"]["rankers"]["model"]["pair_accuracy"]
    assert f"() {accuracy['mean']}" in done.stdout
    assert done.stdout.splitlines()[-1] == str(finished_run.report["counts"]["slates"]["train"])


def test_a_run_compared_with_itself_differs_in_nothing(finished_run, tmp_path):
    out = tmp_path / "comparison.html"
    done = easq("report", "--compare", finished_run.workdir, finished_run.workdir, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "(+0.000 to +0.000)" in done.stdout
    assert "no difference is shown" in done.stdout
    assert json.loads(out.with_suffix(".json").read_text())["settings"] == []


def test_a_client_gets_the_ranking_that_the_run_printed(finished_run, tmp_path):
    slate = finished_run.workdir / "slate.json"
    candidates = json.loads(slate.read_text())["item_id"]
    base = finished_run.workdir / "serving_model" / "easq"
    with ServerProcess(base, "easq", tmp_path / "server.log") as server:
        server.wait_until_available(60)
        done = easq("predict", slate, "--address", server.address)
    assert done.returncode == 0, done.stderr
    ranked = [line.split("\t") for line in done.stdout.splitlines()]
    assert sorted(item for _, item, _ in ranked) == sorted(candidates)
    scores = [float(score) for _, _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    printed = re.findall(r"^ +\d+ +(\d+) +[+-]\d+\.\d{3}", finished_run.printed, re.MULTILINE)
    assert [item for _, item, _ in ranked] == printed


def test_the_frameworks_log_goes_to_its_file(finished_run):
    assert len(finished_run.printed.splitlines()) < 80
    assert "absl" not in finished_run.printed
    assert "INFO absl" in (finished_run.workdir / "framework.log").read_text(errors="replace")


def test_the_page_shows_the_rankings_and_loads_nothing(finished_run):
    page = (finished_run.workdir / "report.html").read_text(encoding="utf-8")
    assert "popularity" in page
    assert finished_run.report["verdict"]["sentence"].split(" (")[0] in page
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']https?://", page)


def test_lineage_leads_from_the_model_to_its_examples(finished_run):
    artifacts = last_run_artifacts(finished_run.workdir / "metadata.sqlite", "easq-simulated")
    assert set(artifacts) >= set(COMPONENTS)
    assert artifacts["Evaluator"]["blessing"].properties["blessed"] == 1
    assert artifacts["Pusher"]["pushed_model"].properties["pushed_version"] == (
        pushed_version(finished_run).name
    )


def test_a_second_run_in_the_same_folder_at_the_same_time_is_refused(finished_run):
    import fcntl

    with (finished_run.workdir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = easq("run", "--data-dir", finished_run.logs, "--workdir", finished_run.workdir)
    assert done.returncode == 1
    assert "another run is using this folder" in done.stderr


def test_a_wrong_model_setting_is_refused_before_any_component_runs(finished_run, tmp_path):
    settings = tmp_path / "run.yaml"
    settings.write_text("trainer: {model: {lamda_dpo: 1.0}}")
    done = easq(
        "run",
        *("--data-dir", finished_run.logs, "--settings", settings, "--workdir", tmp_path / "run"),
    )
    assert done.returncode == 2
    assert "lamda_dpo" in done.stderr
    assert not (tmp_path / "run" / "pipeline").exists()


class TestReportInABrowser(PageRules):
    @pytest.fixture(scope="class")
    @classmethod
    def address(cls, finished_run):
        return (finished_run.workdir / "report.html").as_uri()
