"""Worker processes: what is done stays done, what fails says why, nothing outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cells import KUAIRAND, CellSpec
from experiments.dispatch import tasks_of
from experiments.runs import RunSpec
from experiments.workers import Place, make_runs
from tests.experiments.conftest import TINY_CELL

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
RANDOM, ORACLE = RunSpec(TINY_CELL, "Random"), RunSpec(TINY_CELL, "Oracle")
# Its folder is not given.
WITHOUT_DATA = RunSpec(CellSpec(KUAIRAND, "", 0.0, 0), "Random")

# Starts a training that takes far longer than the test waits.
LONG_WORK = """
import sys
from experiments.dispatch import tasks_of
from experiments.runs import RunSpec
from experiments.workers import Place, make_runs
from tests.experiments.conftest import TINY_CELL
from pathlib import Path

if __name__ == "__main__":
    runs = [RunSpec(TINY_CELL, "Random"), RunSpec(TINY_CELL, "EASQ", 1.0)]
    make_runs(Place(Path(sys.argv[1])), "test", tasks_of([runs]), workers=1)
"""


def written(place):
    return {path.name: path.stat().st_mtime_ns for path in place.runs.folder.glob("*.json")}


def test_what_fails_says_why_and_the_rest_is_made_and_not_made_again(tmp_path):
    place = Place(tmp_path, jit_compile=False)
    (failure,) = make_runs(place, "test", tasks_of([[WITHOUT_DATA, RANDOM]]), workers=1)

    assert failure.task.runs == (WITHOUT_DATA,)
    assert "--kuairand-dir" in failure.reason
    before = written(place)
    assert len(before) == 1
    assert make_runs(place, "test", tasks_of([[RANDOM, ORACLE]]), workers=1) == []
    assert before.items() < written(place).items()


def test_an_unknown_method_is_refused_before_any_work(tmp_path):
    unknown = RunSpec(TINY_CELL, "Nobody's method")
    with pytest.raises(ValueError, match=r"EMER_s-pair.*Nobody's method"):
        make_runs(Place(tmp_path), "test", tasks_of([[unknown, RANDOM]]), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "work.py").write_text(LONG_WORK, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "work.py"), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    place = Place(tmp_path / "out")
    _wait_until(lambda: place.runs.has(RANDOM))
    children = _children(parent.pid)
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    _wait_until(lambda: not any(_alive(child) for child in children))
    assert list(written(place)) == [f"{RANDOM.key}.json"]


def _wait_until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def _children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"
