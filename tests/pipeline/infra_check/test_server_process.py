"""The server's process: it never outlives the process that started it."""

import os
import signal
import subprocess
import sys
import time

import pytest

_PARENT = """
import sys
from pathlib import Path
from pipeline.server_process import ServerProcess
with ServerProcess(Path(sys.argv[1]), "easq", Path(sys.argv[2])) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("asked", [False, True], ids=["at once", "when it serves"])
def test_the_server_ends_when_its_parent_is_killed(tmp_path, asked):
    command = [sys.executable, "-c", _PARENT, str(tmp_path), str(tmp_path / "log")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ) as parent:
        pid = int(parent.stdout.readline())
        deadline = time.monotonic() + 60
        # The first program asks the kernel for the signal and then becomes the server.
        while asked and time.monotonic() < deadline:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"prctl" not in file.read():
                    break
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(pid)
