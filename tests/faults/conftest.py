"""Counts the faults of a session; `make faults` prints them at the end."""

import multiprocessing
from collections import Counter

import pytest

_TALLY = pytest.StashKey[Counter]()


def pytest_configure(config):
    config.stash[_TALLY] = Counter()


@pytest.fixture
def count(pytestconfig):
    """Counts one injected fault, by what it was and what came of it."""

    def add(fault, outcome):
        pytestconfig.stash[_TALLY][fault, outcome] += 1

    return add


def pytest_terminal_summary(terminalreporter, config):
    tally = config.stash[_TALLY]
    if tally:
        terminalreporter.section(f"{tally.total()} faults")
        for (fault, outcome), number in sorted(tally.items()):
            terminalreporter.line(f"{number:6}  {fault}: {outcome}")


@pytest.fixture(scope="session")
def forks():
    """Processes begin as forks of one that has imported TFX and TensorFlow, and used neither."""
    from tests.faults import processes

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([processes.__name__])
    return context


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Logs and settings of the runs."""
    from simulator import write_logs
    from tests.faults.whole_runs import LOGS, SETTINGS

    folder = tmp_path_factory.mktemp("inputs")
    write_logs(LOGS, folder / "logs")
    (folder / "run.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="session")
def undisturbed(forks, inputs, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    from tests.faults.whole_runs import Run

    root = tmp_path_factory.mktemp("undisturbed") / "run"
    Run(forks, inputs, root).end()
    return root
