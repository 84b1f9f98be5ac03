"""Every Beam step of the pipeline takes another runner, and finds what it found in one process."""

import json
import shlex

import numpy as np
import pytest

from tests.e2e.conftest import easq
from tests.pipeline.beam_cluster import beam_cluster

pytestmark = pytest.mark.slow

SETTINGS = """
trainer:
  model: {units: 8, num_heads: 2, num_experts: 2, expert_hidden_dim: 4}
  jit_compile: false
infra_check: {requests: 4, warmup_requests: 4, timeout_seconds: 600}
"""


def run(logs, workdir, settings, *options):
    done = easq(
        *("run", "--data-dir", logs, "--workdir", workdir, "--settings", settings, *options),
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    examples = workdir / "pipeline" / "LogExampleGen" / "examples"
    files = {
        path.relative_to(examples).parts[1:]: path.read_bytes()
        for path in examples.rglob("*")
        if path.is_file()
    }
    return files, json.loads((workdir / "report.json").read_text(encoding="utf-8"))


def test_a_run_on_a_job_server_with_two_workers(tmp_path):
    logs, settings = tmp_path / "logs", tmp_path / "run.yaml"
    assert easq("simulate", "--out", logs, "--requests", "2000").returncode == 0
    settings.write_text(SETTINGS, encoding="utf-8")
    here, report = run(logs, tmp_path / "here", settings)
    with beam_cluster(tmp_path, workers=2) as beam_args:
        there, other = run(logs, tmp_path / "there", settings, "--beam-args", shlex.join(beam_args))
    assert there == here
    assert other["counts"] == report["counts"]
    # Transform adds the same numbers up in another order, so its means differ in the last digits.
    assert other["training"]["steps"] == report["training"]["steps"]
    for name, curve in report["training"]["history"].items():
        np.testing.assert_allclose(
            other["training"]["history"][name], curve, rtol=1e-3, atol=1e-3, err_msg=name
        )
    for metric in ("pair_accuracy", "behaviour_ndcg@10"):
        found, expected = (
            one["evaluation"]["overall"]["rankers"]["model"][metric]["mean"]
            for one in (other, report)
        )
        assert abs(found - expected) < 0.01


def test_a_job_server_that_does_not_answer_is_wrong_usage(tmp_path):
    assert easq("simulate", "--out", tmp_path / "logs", "--requests", "200").returncode == 0
    done = easq(
        *("run", "--data-dir", tmp_path / "logs", "--workdir", tmp_path / "run", "--beam-args"),
        "--runner=PortableRunner --job_endpoint=localhost:9 --environment_type=LOOPBACK",
    )
    assert done.returncode == 2
    assert "--job_endpoint=localhost:9, where nobody answers" in done.stderr
    assert not (tmp_path / "run" / "pipeline").exists()
