"""What is asked of an experiment, checked against what there is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from easq_keras.models import METHODS, method_info
from experiments.cells import DENSITIES, FULL, KUAIRAND, QUICK, SCENARIOS, SIMULATED, CellSpec
from experiments.runs import RANKERS, RunSpec, settings_of
from pipeline.dataset_settings import dataset_replays, dataset_settings
from pipeline.logs.dataset_config import load_dataset_config

# The recommended preset, trained again from another seed: what chance alone makes of a difference.
A_A = "EASQ-A/A"
_OTHER_SEED = 1_000
# What `--method` may name.
_NAMES = (*METHODS, *RANKERS, A_A)
_QUICK_GRID = 2
# The density at which all but the frontier and the sparsity are looked at.
MIDDLE = 2e-3
# A denser log than this would answer more than the survey of the test split.
SURVEYED_AT_MOST = 0.09


class NotConcernedError(ValueError):
    """An experiment that is about none of the methods asked for."""


class UnknownNameError(ValueError):
    """A name that is not there; the message lists those that are."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no {kind} {name!r}; there are: {', '.join(known)}")


@dataclass(frozen=True)
class Entry:
    """A row of a table: a method, perhaps with other settings.

    Attributes:
        label: what tables call it.
        method: of `METHODS` or `RANKERS`.
        settings: that differ from the method's, as `settings_of` gives them.
        replay: as in `RunSpec`.
        grid: weights to train it at; None: the method's.
        seed_shift: added to the seed of the model.
        answer_weights: as in `RunSpec`.
    """

    label: str
    method: str
    settings: tuple[tuple[str, Any], ...] = ()
    replay: bool | None = None
    grid: tuple[float, ...] | None = None
    seed_shift: int = 0
    answer_weights: str = ""

    @classmethod
    def of(cls, name: str) -> Entry:
        """The entry of a method, a ranker or `A_A` as it is."""
        if name == A_A:
            return cls(name, "EASQ", seed_shift=_OTHER_SEED)
        return cls(name, name)

    @property
    def trade_off(self) -> str | None:
        """The setting that is swept; None where there is none."""
        return None if self.method in RANKERS else method_info(self.method).trade_off


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        scenarios: of the simulator; none: real logs alone.
        densities: answers a view in training; None: those that the experiment is about.
        seeds: of worlds and of models.
        methods: of `METHODS`, `RANKERS` and `A_A`; None: all that the experiment is about.
        kuairand: whether KuaiRand is among the data sets.
        quick: a small cell and a thin grid, to see that all works; its figures mean nothing.
    """

    scenarios: tuple[str, ...] = SCENARIOS
    densities: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = tuple(range(8))
    methods: tuple[str, ...] | None = None
    kuairand: bool = False
    quick: bool = False

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            if scenario not in SCENARIOS:
                raise UnknownNameError("scenario", scenario, SCENARIOS)
        for method in self.methods or ():
            if method not in _NAMES:
                raise UnknownNameError("method", method, _NAMES)
        for density in self.densities or ():
            if not 1e-6 <= density <= SURVEYED_AT_MOST:
                raise ValueError(
                    f"the density {density:g} is not between 1e-06 and {SURVEYED_AT_MOST:g}: it is "
                    "the number of answers a view"
                )
        if not self.seeds:
            raise ValueError("at least one seed is needed")
        if not self.scenarios and not self.kuairand:
            raise ValueError("no data: without a scenario the folder of a real log is needed")

    def chosen(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Those of an experiment's methods that were asked for."""
        if self.methods is None:
            return tuple(methods)
        wanted = tuple(method for method in methods if method in self.methods)
        if not wanted:
            raise NotConcernedError(
                f"this experiment is about {', '.join(methods)}; none of them was asked for"
            )
        return wanted

    def chosen_entries(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of an experiment's rows that were asked for; variants go with their method."""
        names = [entry.label if entry.label in _NAMES else entry.method for entry in entries]
        wanted = self.chosen(tuple(dict.fromkeys(names)))
        return [entry for entry, name in zip(entries, names, strict=True) if name in wanted]

    def cells(self, seed: int, densities: Sequence[float] = DENSITIES) -> list[CellSpec]:
        """The cells of a seed, those of middling density first.

        Args:
            seed: of the world.
            densities: where none were asked for.
        """
        size = QUICK if self.quick else FULL
        densities = self.densities or (densities if not self.quick else _quick(densities))
        middle = sorted(densities, key=lambda density: abs(density - MIDDLE))
        cells = [
            CellSpec(SIMULATED, scenario, density, seed, size=size)
            for density in middle
            for scenario in self.scenarios
        ]
        # The log is one and the same: its seeds are those of models.
        return [*cells, CellSpec(KUAIRAND, "", 0.0, 0)] if self.kuairand else cells

    def sweep(self, cell: CellSpec, entry: Entry, seed: int) -> list[RunSpec]:
        """The runs of an entry in a cell, one a weight of its grid: its budget of tuning.

        What reads no answers comes out the same at every density, and is run at one.
        """
        ranker = entry.method in RANKERS
        if cell.dataset == SIMULATED and (ranker or not method_info(entry.method).reads_answers):
            cell = dataclasses.replace(cell, density=DENSITIES[0])
        return [
            RunSpec(
                cell,
                entry.method,
                weight,
                settings=settings_of(
                    **{**_of_dataset(cell.dataset, entry.method), **dict(entry.settings)}
                ),
                replay=_replays(cell.dataset, entry) if entry.replay is None else entry.replay,
                model_seed=0 if ranker else seed + entry.seed_shift,
                answer_weights=entry.answer_weights,
            )
            for weight in self.grid(entry)
        ]

    def grid(self, entry: Entry) -> tuple[float | None, ...]:
        """The weights of an entry."""
        if entry.trade_off is None:
            return (None,)
        grid = entry.grid or method_info(entry.method).grid
        if self.quick and len(grid) > _QUICK_GRID:
            # The middle of the grid, where the budgets of cost are.
            first = (len(grid) - _QUICK_GRID) // 2
            return grid[first : first + _QUICK_GRID]
        return grid


@functools.cache
def _of_dataset(dataset: str, method: str) -> dict[str, Any]:
    return {} if method in RANKERS else dataset_settings(method, load_dataset_config(dataset))


@functools.cache
def _replays(dataset: str, entry: Entry) -> bool | None:
    """Whether earlier answers are replayed; None: as the method does by default."""
    if entry.method in RANKERS:
        return None
    return dataset_replays(entry.method, load_dataset_config(dataset))


def _quick(densities: Sequence[float]) -> tuple[float, ...]:
    """The middling density, or the two ends where that is not among them all."""
    return (MIDDLE,) if len(densities) <= len(DENSITIES) else (densities[0], densities[-1])
