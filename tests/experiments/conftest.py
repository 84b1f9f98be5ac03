"""A world small enough to train in a second, made once through the whole data path."""

from pathlib import Path

import pytest

from experiments.cells import Cell, CellSpec, CellStore, Size
from experiments.laboratory import Laboratory
from experiments.runs import RunStore

TINY = Size(train=96, validation=32, test=48, users=20, items=200, days=2)
TINY_CELL = CellSpec(scenario="strong", density=0.05, seed=3, size=TINY)


@pytest.fixture(scope="session")
def cells_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="session")
def cells(cells_folder) -> CellStore:
    return CellStore(cells_folder)


@pytest.fixture(scope="session")
def cell(cells) -> Cell:
    return cells.load(TINY_CELL)


@pytest.fixture
def few_steps_a_call(monkeypatch) -> None:
    """Steps of one call are traced one by one, which here would take longer than to run them."""
    monkeypatch.setattr("experiments.laboratory.STEPS_PER_EXECUTION", 1)


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def laboratory(cells, store, few_steps_a_call) -> Laboratory:
    return Laboratory(cells, store, jit_compile=False)
