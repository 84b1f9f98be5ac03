"""A process that was started ends with its starter, even where that is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.child_process import ending_with_us

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


def test_a_program_does_not_begin_when_its_starter_has_ended():
    """Whoever adopts it is not who was to start it: here a shell."""
    command = ending_with_us("-c", "print('began')", by=signal.SIGKILL)
    adopted = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(adopted, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the process that started this one has ended" in done.stderr
