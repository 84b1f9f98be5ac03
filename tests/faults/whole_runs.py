"""Runs of `easq run` on small logs, and what they must have in common."""

import hashlib
import json
import os
import time
from pathlib import Path

import h5py
import numpy as np

from pipeline.local_runner import Workdir
from serving.model_folder import check_model_folder
from serving.versions import list_versions
from simulator import SimulatorConfig
from tests.faults import processes

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
        """Lets it go on for so many seconds of the processor, if that is what it waits for."""
        begun, looked = self._used(), 0.0
        while self.process.is_alive() and self._used() - begun < seconds:
            if self._used() - begun < looked / 10 and looked > seconds:
                return  # it waits for another process
            time.sleep(0.02)
            looked += 0.02

    def _used(self):
        stat = Path(f"/proc/{self.process.pid}/stat")
        try:
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        except (FileNotFoundError, ProcessLookupError):
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
        # After a fault between its blessing and its push, the last blessed model is the model.
        "evaluation": {
            ranker: report["evaluation"]["overall"]["rankers"][ranker]
            for ranker in ("model", "popularity", "random")
        },
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
