"""`easq run` killed in every component: nothing half is served, and it ends as if undisturbed."""

import hashlib
import json
import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.local_runner import Workdir
from serving.model_folder import check_model_folder
from serving.versions import list_versions
from simulator import SimulatorConfig, write_logs
from tests.faults import processes

pytestmark = pytest.mark.slow

COMPONENTS = (
    *("LogExampleGen", "StatisticsGen", "StoppingExampleValidator", "Transform"),
    *("Trainer", "Evaluator", "InfraCheck", "Pusher"),
)
KILLS = 3  # in each component
FILLED = 12  # times that the disk is full, about
# Few people who answer often: enough of them can be compared for a model to be blessed.
LOGS = SimulatorConfig(requests=1200, users=60, issue_rate=0.4, answer_rate=0.9)
SETTINGS = """
trainer:
  model: {units: 8, num_heads: 2, num_experts: 2, num_satisfaction_experts: 2, expert_hidden_dim: 4}
  steps_per_execution: 4
  jit_compile: false
gate: {satisfaction_loss: 1, behaviour_loss: 1, min_gain_over_random: -1}
infra_check: {requests: 2, warmup_requests: 2}
"""


@pytest.fixture(scope="module")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([processes.__name__])
    return context


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_logs(LOGS, folder / "logs")
    (folder / "run.yaml").write_text(SETTINGS)
    return folder


class Run:
    """One process of `easq run`."""

    def __init__(self, forks, inputs, root):
        self._place = Workdir(root)
        root.mkdir(exist_ok=True)
        self._log = self._place.framework_log
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        self.printed = root / "printed.log"
        options = ("--data-dir", inputs / "logs", "--settings", inputs / "run.yaml")
        arguments = ("run", *options, "--workdir", root)
        self.process = forks.Process(
            target=processes.easq, args=(self.printed, *map(str, arguments))
        )
        self.process.start()

    def reach(self, component):
        """Waits until a component is running; whether it got there before the end."""
        line = f"Component {component} is running".encode()
        while self.process.is_alive():
            if self._log.exists():
                with self._log.open("rb") as log:
                    log.seek(self._begin)
                    if line in log.read():
                        return True
            time.sleep(0.05)
        return False

    def use(self, seconds):
        """Lets it have so many seconds of the processor more."""
        begun = self._used()
        while self.process.is_alive() and self._used() < begun + seconds:
            time.sleep(0.02)

    def _used(self):
        stat = Path(f"/proc/{self.process.pid}/stat")
        try:
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        except FileNotFoundError:
            return float("inf")
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.join()
        assert self.process.exitcode == 0, self.printed.read_text()[-3000:]


def outcome(root):
    """All that a disturbed run must have in common with one that was not."""
    report = json.loads(Workdir(root).report_json.read_text())
    places = report["lineage"]["artifacts"]
    examples = root / places["LogExampleGen"]["examples"]
    weights = {}
    (file,) = (root / places["Trainer"]["model"] / "checkpoint").glob("*.weights.h5")
    with h5py.File(file) as opened:
        opened.visititems(
            lambda name, one: weights.update({name: one[()]} if hasattr(one, "shape") else {})
        )
    return {
        "counts": report["counts"],
        "examples": {
            path.relative_to(examples).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(examples.glob("Split-*/*"))
        },
        "weights": weights,
        "evaluation": report["evaluation"]["overall"],
        "pushed": report["push"]["pushed"],
    }


def assert_same(found, expected):
    weights = found.pop("weights"), expected["weights"]
    assert found == {name: value for name, value in expected.items() if name != "weights"}
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name], err_msg=name)


def served(root):
    """The versions that a server would find, all of them whole."""
    folder = Workdir(root).serving_dir
    versions = list_versions(str(folder)) if folder.exists() else {}
    for path in versions.values():
        check_model_folder(path)
        for part in ("saved_model.pb", "assets.extra/SHA256SUMS", "assets.extra/model_card.json"):
            assert Path(path, part).stat().st_size > 0
    return versions


@pytest.fixture(scope="module")
def undisturbed(forks, inputs, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "run"
    run = Run(forks, inputs, root)
    run.end()
    return root


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
        args=(log, disk, needed // 50, needed // FILLED, out, *arguments),
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
