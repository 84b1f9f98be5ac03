"""Two replicas, one of them without answers, stay one model. In a process of its own: the number
of logical devices is fixed once TensorFlow has started.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.easq_keras.models import replicas_run

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_replicas_agree_on_whether_answers_came_and_on_every_variable():
    run = subprocess.run(
        [sys.executable, "-m", replicas_run.__name__],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["steps"] == [replicas_run.STEPS, replicas_run.STEPS]
    for path, (first, second) in result["held"].items():
        assert first == second, path
