"""`easq run` killed in every component: nothing half is served, and it ends as if undisturbed."""

import contextlib
import json
import os
import random
import re
import signal

import pytest

from pipeline.local_runner import Workdir
from tests.faults import processes
from tests.faults.whole_runs import LOGS, Run, assert_same, outcome, served

pytestmark = pytest.mark.slow

COMPONENTS = (
    *("LogExampleGen", "StatisticsGen", "StoppingExampleValidator", "Transform"),
    *("Trainer", "Evaluator", "InfraCheck", "Pusher"),
)
KILLS = 3  # in each component
FILLED = 12  # times that the disk is full, about


def test_killed_in_any_component_it_ends_as_if_it_had_not_been(
    forks, inputs, undisturbed, tmp_path, count
):
    report = json.loads(Workdir(undisturbed).report_json.read_text())
    seconds = {step["name"]: step["seconds"] for step in report["steps"]}
    expected = outcome(undisturbed)
    assert expected["pushed"]
    read, used = (expected["counts"]["impressions"][name] for name in ("read", "used"))
    assert (
        read
        == used + sum(expected["counts"]["impressions"]["rejected"].values())
        == LOGS.requests * LOGS.candidates
    )
    dice, root, roots = random.Random(0), tmp_path / "run0", 1
    for component in COMPONENTS:
        for number in range(KILLS):
            run = Run(forks, inputs, root)
            if run.reach(component):
                run.use(seconds[component] * dice.random())
            if run.process.is_alive():
                kind = (signal.SIGKILL, signal.SIGTERM)[number % 2]
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(run.process.pid, kind)
                run.process.join()
                if run.process.exitcode == -kind:
                    count(f"{kind.name} in {component}", "ended as if undisturbed")
                    assert len(served(root)) <= 2
                    continue
            run.end()  # it was done before
            assert_same(outcome(root), expected)
            root, roots = tmp_path / f"run{roots}", roots + 1
    Run(forks, inputs, root).end()
    assert_same(outcome(root), expected)
    assert served(root)


def test_of_two_runs_in_one_folder_at_once_one_is_refused(forks, inputs, tmp_path, count):
    root = tmp_path / "run"
    first = Run(forks, inputs, root)
    assert first.reach("LogExampleGen")
    for _ in range(5):
        second = Run(forks, inputs, root)
        second.process.join()
        assert second.process.exitcode == 1
        assert re.search(rf"{root}: another run is using this folder; wait", root_log(root))
        count("second run in one folder", "refused by name")
    assert first.process.is_alive()
    first.process.kill()
    first.process.join()


def root_log(root):
    return (root / "printed.log").read_text()


def test_on_a_disk_that_fills_up_it_says_so_and_goes_on_once_there_is_room(
    forks, inputs, undisturbed, tmp_path, count
):
    disk, log, out = tmp_path / "disk", tmp_path / "printed.log", tmp_path / "out"
    disk.mkdir()
    needed = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    options = ("--data-dir", inputs / "logs", "--settings", inputs / "run.yaml")
    arguments = map(str, ("run", *options, "--workdir", disk / "run"))
    process = forks.Process(
        target=processes.easq_on_a_small_disk,
        args=(log, disk, range(needed // 50, 2 * needed, needed // FILLED), out, *arguments),
    )
    process.start()
    process.join()
    assert process.exitcode == 0, log.read_text()[-3000:]
    tries = [json.loads(line) for line in log.with_suffix(".jsonl").read_text().splitlines()]
    assert len(tries) > FILLED // 2
    for one in tries[:-1]:
        assert one["code"] == 1
        assert f"no space left on the disk of {disk / 'run'}" in " ".join(one["said"].split())
        pushed = {place for place in one["served"] if place.endswith("saved_model.pb")}
        assert len(pushed) <= 1
        count("full disk, easq run", "said so; goes on once there is room")
    assert tries[-1]["code"] == 0
    assert_same(outcome(out / "run"), outcome(undisturbed))
    assert served(out / "run")
