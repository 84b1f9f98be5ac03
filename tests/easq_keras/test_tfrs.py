"""The task for TensorFlow Recommenders, which needs Keras 2 and so a process of its own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import easq_keras

ROOT = Path(easq_keras.__file__).parent
RUN = Path(__file__).with_name("tfrs_run.py")


def python(*arguments: str, legacy: bool) -> subprocess.CompletedProcess:
    """Runs Python from the root of the repository with Keras 2 or 3 as `tf.keras`."""
    environment = {
        **os.environ,
        "TF_USE_LEGACY_KERAS": "1" if legacy else "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(ROOT.parent),
    }
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def run() -> dict:
    done = python(str(RUN), legacy=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_it_ran_on_keras_2(run: dict) -> None:
    assert run["keras"].startswith("tf_keras.")


def test_fit_trains_the_satisfaction_head(run: dict) -> None:
    # Not so L_DPO: its margin is ŝ's, which grows as the head learns.
    assert run["last"]["satisfaction_loss"] < 0.5 * run["first"]["satisfaction_loss"]


def test_the_metrics_count_the_pairs_across_a_users_slates(run: dict) -> None:
    # Batches of 16 users with 4 answers each: 3 or 4 pairs a user unless all answers agree.
    assert 16 < run["first"]["answer_pairs"] < 64


def test_alignment_turns_the_score_towards_what_satisfies(run: dict) -> None:
    assert run["aligned"] > run["plain"] + 0.2


def test_the_satisfaction_loss_moves_the_satisfaction_pathway_only(run: dict) -> None:
    assert run["moved_by_satisfaction"] == ["lora_a", "lora_b", "satisfaction"]


def test_the_alignment_loss_moves_the_ranking_pathway_only(run: dict) -> None:
    assert run["moved_by_alignment"] == ["backbone", "head"]


def test_without_answers_the_loss_is_exactly_0(run: dict) -> None:
    assert run["without_answers"] == 0.0


def test_the_config_comes_back_and_metrics_can_be_left_out(run: dict) -> None:
    assert run["config_kept"]
    assert run["silent"] == pytest.approx(2 * 0.693147, abs=1e-5)


def test_with_keras_3_the_import_says_what_to_set() -> None:
    done = python("-c", "import easq_keras.tfrs", legacy=False)
    assert done.returncode == 1
    assert "TF_USE_LEGACY_KERAS=1, set before TensorFlow is imported" in done.stderr


def test_a_wrong_option_is_refused_by_name(run: dict) -> None:
    named = [message.split("`")[1] for message in run["refusals"]]
    assert named == ["beta", "alignment_weight", "satisfaction_weight", "loss_type"]


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_else_imports_it(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    assert "easq_keras.tfrs" not in names
    if path.name != "tfrs.py":
        assert not any(str(name).startswith("tensorflow_recommenders") for name in names)
