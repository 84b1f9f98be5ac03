"""Every compiled step, run as the cluster runs it: its command, in a fresh process."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipeline.configs import RunSettings
from pipeline.kubeflow.settings import Volume
from pipeline.kubeflow_runner import compile_pipeline
from pipeline.logs.dataset_config import load_dataset_config
from tests.e2e.conftest import easq
from tests.pipeline.kubeflow.conftest import remote_settings
from tests.pipeline.kubeflow.engine import Engine, StepFailed

SETTINGS = {
    "trainer": {
        "model": {"units": 8, "num_heads": 2, "num_experts": 2, "expert_hidden_dim": 4},
        "jit_compile": False,
    },
    "infra_check": {"requests": 4, "warmup_requests": 4},
    # A tiny model may be as good as chance; here it is to be pushed all the same.
    "gate": {"min_gain_over_random": -1.0, "satisfaction_loss": 1.0, "behaviour_loss": 1.0},
}


@dataclass(frozen=True)
class Cluster:
    """A compiled pipeline, the spans of logs it reads, and the volume it pushes to."""

    spec: dict
    logs: Path
    serving_dir: Path

    def engine(self, folder: Path, **parameters: str) -> Engine:
        return Engine(self.spec, folder, logs=f"file://{self.logs}", **parameters)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Cluster:
    folder = tmp_path_factory.mktemp("cluster")
    logs = folder / "logs"
    simulated = easq(
        *("simulate", "--out", logs, "--spans", "daily", "--days", "4", "--base-days", "1"),
        *("--requests", "2000", "--seed", "7"),
    )
    assert simulated.returncode == 0, simulated.stderr
    volume = folder / "volume"
    settings = remote_settings(
        volumes=(Volume("easq", str(volume)),),
        serving_dir=f"{volume}/models",
        window_spans=2,
        resources=(),
    )
    dataset = load_dataset_config("simulated")
    compile_pipeline(dataset, RunSettings.from_dict(SETTINGS), settings, folder / "easq.yaml")
    spec = next(yaml.safe_load_all((folder / "easq.yaml").read_text(encoding="utf-8")))
    return Cluster(spec, logs, volume / "models")


def metadata_of(engine: Engine, step: str, output: str) -> dict:
    return engine.artifacts[step][output]["metadata"]


def path_of(engine: Engine, step: str, output: str) -> Path:
    return Path(engine.artifacts[step][output]["uri"].removeprefix("file://"))


def test_the_steps_that_need_no_model_run_in_fresh_processes(cluster, tmp_path):
    engine = cluster.engine(tmp_path)
    engine.run(["SlateSchemaGen", "LogExampleGen"])
    spans = sorted(path.name for path in cluster.logs.iterdir() if path.name.startswith("20"))
    said = metadata_of(engine, "LogExampleGen", "examples")
    assert said["spans"] == ",".join(spans[-2:])
    examples = path_of(engine, "LogExampleGen", "examples")
    counts = json.loads((examples / "counts.json").read_text())
    assert counts["slates"]["train"] > 0
    assert engine.artifacts["LogExampleGen"]["examples"]["uri"].startswith("file://")
    assert (path_of(engine, "SlateSchemaGen", "schema") / "schema.pbtxt").exists()


@pytest.mark.slow
def test_a_span_that_is_not_there_fails_the_step_and_says_so(cluster, tmp_path):
    with pytest.raises(StepFailed, match=r"no complete span 2031-01-01; the newest are .*newest"):
        cluster.engine(tmp_path, span="2031-01-01").run(["LogExampleGen"])


@pytest.mark.slow
def test_a_run_and_the_next_one_from_the_logs_to_the_pushed_models(cluster, tmp_path):
    first = cluster.engine(tmp_path / "first")
    first.run(first.order())

    assert metadata_of(first, "Evaluator", "blessing")["blessed"] == 1
    assert metadata_of(first, "InfraCheck", "blessing")["blessed"] == 1
    version = metadata_of(first, "Pusher", "pushed_model")["pushed_version"]
    assert [path.name for path in cluster.serving_dir.iterdir()] == [version]
    warmup = cluster.serving_dir / version / "assets.extra" / "tf_serving_warmup_requests"
    assert warmup.exists()
    card = json.loads(warmup.with_name("model_card.json").read_text(encoding="utf-8"))
    assert card["version"] == version
    assert card["logs"].startswith("spans 20")
    # Nothing was pushed before: the artifact of the model to beat is empty.
    assert not (path_of(first, "LastPushedModel", "model") / "Format-Serving").exists()
    assert "baseline_model" not in metadata_of(first, "Evaluator", "blessing")

    # The next run finds what this one pushed, and compares with it.
    second = cluster.engine(tmp_path / "second")
    second.artifacts.update(first.artifacts)
    second.run(["LastPushedModel", "Evaluator"])
    assert metadata_of(second, "LastPushedModel", "model")["pushed_version"] == version
    blessing = metadata_of(second, "Evaluator", "blessing")
    assert blessing["baseline_model"] == second.artifacts["LastPushedModel"]["model"]["uri"]
    # By the engine's own names of artifacts, for the lineage.
    assert blessing["current_model_id"] == first.artifacts["Trainer"]["model"]["name"]
