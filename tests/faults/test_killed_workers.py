"""A Beam worker process is killed, as the kernel does when memory runs out: the run says so."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from pipeline.record_files import require_whole
from simulator import SimulatorConfig, write_logs
from tests.faults import processes
from tests.pipeline.example_gen.written import files_under

pytestmark = pytest.mark.slow

KILLS = 6
WAIT = 300  # seconds
BUSY = 12.0  # seconds in which two workers are at it, about


def workers_of(process):
    """The worker processes, children of a shell each."""
    children = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            command = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append((int(place.name), command))
    shells = [number for number, _ in children.get(process.pid, [])]
    return [
        number
        for shell in shells
        for number, command in children.get(shell, [])
        if b"apache_beam.runners.worker.sdk_worker_main" in command
    ]


def test_a_killed_worker_fails_the_run_in_place_of_hanging_it(forks, tmp_path, count):
    write_logs(SimulatorConfig(requests=3000), tmp_path / "logs")
    dice = random.Random(0)
    for number in range(KILLS):
        out, said = tmp_path / f"out{number}", tmp_path / f"said{number}"
        process = forks.Process(
            target=processes.examples_in_two_processes, args=(tmp_path / "logs", out, said)
        )
        process.start()
        ends = time.monotonic() + WAIT
        while len(workers := workers_of(process)) < 2:
            assert time.monotonic() < ends
            time.sleep(0.05)
        time.sleep(BUSY * dice.random() ** 2)
        with contextlib.suppress(ProcessLookupError):  # all was done
            os.kill(dice.choice(workers), signal.SIGKILL)
        process.join(WAIT)
        assert process.exitcode is not None, "it hangs"
        if process.exitcode:
            assert "a Beam worker process died" in said.read_text()
            assert "memory" in said.read_text()
            count("Beam worker, SIGKILL", "the run fails and says so")
            assert not (out / "files.json").exists()
        else:
            require_whole(str(out))
            count("Beam worker, SIGKILL", "came when all was written: the examples are whole")
    alone, said = tmp_path / "alone", tmp_path / "said"
    again = forks.Process(
        target=processes.examples_in_two_processes, args=(tmp_path / "logs", alone, said)
    )
    again.start()
    again.join(WAIT)
    assert again.exitcode == 0
    # In the folder that the last kill left half full.
    again = forks.Process(
        target=processes.examples_in_two_processes, args=(tmp_path / "logs", out, said)
    )
    again.start()
    again.join(WAIT)
    assert files_under(out) == files_under(alone)
    count("Beam worker, rerun into the same folder", "the same bytes")
