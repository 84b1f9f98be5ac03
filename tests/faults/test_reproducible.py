"""A run is repeated from its report alone: the same bytes, the same weights, the same figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local_runner import Workdir
from tests.faults.whole_runs import assert_same, outcome

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_report_says_is_enough_to_repeat_the_run_to_the_last_bit(undisturbed, tmp_path):
    report = json.loads(Workdir(undisturbed).report_json.read_text())
    for name in ("dataset_config", "settings"):  # JSON is YAML
        (tmp_path / f"{name}.yaml").write_text(json.dumps(report["run"][name]))
    options = {
        "dataset": tmp_path / "dataset_config.yaml",
        "settings": tmp_path / "settings.yaml",
        "data-dir": report["lineage"]["logs"],
        "workdir": tmp_path / "again",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cli.main", "run"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        cwd=ROOT,
        # Another order of sets and dictionaries than any run before.
        env={**os.environ, "PYTHONHASHSEED": "4321"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(outcome(tmp_path / "again"), outcome(undisturbed))
    again = json.loads(Workdir(tmp_path / "again").report_json.read_text())
    assert again["run"]["environment"] == report["run"]["environment"]
    assert again["run"]["settings"] == report["run"]["settings"]
    assert again["lineage"]["examples_sha256"] == report["lineage"]["examples_sha256"]
    history = again["training"]["history"]
    assert history == report["training"]["history"]
