"""Counts the faults of a session; `make faults` prints them at the end."""

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
