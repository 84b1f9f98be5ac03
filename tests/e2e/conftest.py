"""One real run, shared by every test here: simulated logs in, pushed model and report out."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REQUESTS = 6000


@dataclass(frozen=True)
class FinishedRun:
    """What a person has after `easq run`: the folder, the report, and what was printed."""

    workdir: Path
    logs: Path
    report: dict[str, Any]
    printed: str


def easq(*arguments: str | Path, timeout: int = 900) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, without network proxies or a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> FinishedRun:
    logs = tmp_path_factory.mktemp("e2e_logs")
    simulated = easq("simulate", "--out", logs, "--requests", str(REQUESTS), "--seed", "7")
    assert simulated.returncode == 0, simulated.stderr
    workdir = tmp_path_factory.mktemp("e2e") / "run"
    done = easq("run", "--data-dir", logs, "--workdir", workdir)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    return FinishedRun(workdir, logs, report, done.stdout + done.stderr)
