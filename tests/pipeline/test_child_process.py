"""A process that was started ends with its starter, even where that is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

STARTER = """
import signal, subprocess, time
from pipeline.child_process import ending_with_us
waits = "import time; print('up', flush=True); time.sleep(600)"
child = subprocess.Popen(
    ending_with_us("-c", waits, by=signal.SIGKILL), stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_starter_that_is_killed():
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=root, stdout=subprocess.PIPE, text=True
    ) as starter:
        child = Path("/proc", starter.stdout.readline().strip())
        assert child.exists()
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        ends = time.monotonic() + 30
        while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2].split():
            assert time.monotonic() < ends
            time.sleep(0.05)
