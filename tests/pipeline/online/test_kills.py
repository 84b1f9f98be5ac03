"""SIGKILL at random moments: nothing is lost, nothing is learnt twice, nothing half is served."""

import contextlib
import multiprocessing
import os
import random
from pathlib import Path

import pytest

from tests.pipeline.online import engine_process
from tests.pipeline.online.online_runs import (
    assert_same_weights,
    assert_servable,
    copy_of,
    outcome,
    write_spans,
)

pytestmark = pytest.mark.slow

KILLS = 30
SPANS = 6


@pytest.fixture(scope="module")
def processes():
    """Processes begin as forks of one that has imported TFX and TensorFlow, and used neither."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([engine_process.__name__])
    return context


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spans") / "spans"
    write_spans(folder, SPANS)
    return folder


def run_for(process, seconds):
    """Lets a process run to its end, or until it has used so many seconds of the processor: those
    on the clock mean another moment each time the machine is busy. Returns what it has used."""
    process.start()
    used = 0.0
    while process.is_alive() and used < seconds:
        process.join(0.02)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            user, system = stat.rpartition(")")[2].split()[11:13]
            used = max(used, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))
    return used


@pytest.fixture(scope="module")
def uninterrupted(processes, spans, full_fit, tiny_transform_dir, tiny_dataset, tmp_path_factory):
    """The folder of a process that nobody disturbed, and the processor seconds it took."""
    root = tmp_path_factory.mktemp("uninterrupted") / "run"
    workdir = copy_of(full_fit, root, tiny_transform_dir)
    process = processes.Process(target=engine_process.learn, args=(root, tiny_dataset, spans))
    seconds = run_for(process, float("inf"))
    assert process.exitcode == 0, (root / "process.log").read_text()[-3000:]
    return workdir, seconds


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    processes, spans, uninterrupted, full_fit, tiny_transform_dir, tiny_dataset, tmp_path
):
    expected, seconds = uninterrupted
    dice = random.Random(0)
    kills = rounds = 0
    while kills < KILLS:
        root = tmp_path / f"run{rounds}"
        workdir = copy_of(full_fit, root, tiny_transform_dir)
        while True:
            process = processes.Process(
                target=engine_process.learn, args=(root, tiny_dataset, spans)
            )
            # From the first moment of the start to the last span; early ones more often.
            run_for(process, seconds * dice.random() ** 2)
            if process.exitcode is not None:
                assert process.exitcode == 0, (root / "process.log").read_text()[-3000:]
                break
            process.kill()
            process.join()
            kills += 1
            assert_servable(workdir)
        rounds += 1
        assert outcome(workdir) == outcome(expected)
        assert_same_weights(workdir, expected)
