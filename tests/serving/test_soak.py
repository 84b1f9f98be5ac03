"""The soak of benchmarks/serving_soak.py, for a minute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "serving_soak.py"


@pytest.mark.slow
def test_a_minute_of_swaps_fails_no_request_and_leaks_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(SOAK), "--minutes=1", "--swaps=9"],
        capture_output=True,
        text=True,
        check=False,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["failed"] == 0, seen
    # All but the corrupt one answered.
    assert seen["versions_that_answered"] == 9
    assert done.returncode == 0, seen
