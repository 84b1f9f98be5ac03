"""TFX's own command line takes the same pipeline file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import local_runner
from tests.e2e.conftest import easq

pytestmark = pytest.mark.slow


def tfx(*arguments, environment):
    return subprocess.run(
        [str(Path(sys.executable).with_name("tfx")), *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
    )


def test_tfx_creates_and_runs_the_pipeline(tmp_path):
    logs = tmp_path / "logs"
    assert easq("simulate", "--out", logs, "--requests", "3000").returncode == 0
    environment = {
        "HOME": str(tmp_path),  # where tfx remembers its pipelines
        "EASQ_DATASET": "simulated",
        "EASQ_DATA_DIR": str(logs),
        "EASQ_WORKDIR": str(tmp_path / "run"),
    }
    created = tfx(
        "pipeline",
        "create",
        "--engine=local",
        f"--pipeline_path={local_runner.__file__}",
        environment=environment,
    )
    assert 'Pipeline "easq-simulated" created successfully' in created.stdout, created.stderr
    ran = tfx(
        "run", "create", "--engine=local", "--pipeline_name=easq-simulated", environment=environment
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    examples = tmp_path / "run" / "pipeline" / "LogExampleGen" / "examples"
    assert list(examples.glob("*/counts.json"))
    assert list((tmp_path / "run" / "pipeline" / "Pusher" / "pushed_model").iterdir())
