"""What is asked of an experiment, checked against what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from easq_keras.models import METHODS, method_info
from experiments.cells import DENSITIES, FULL, KUAIRAND, QUICK, SCENARIOS, SIMULATED, CellSpec
from experiments.runs import RANKERS, RunSpec

AGAIN = "-A/A"
# The recommended preset, trained again from another seed: what chance alone makes of a difference.
A_A = f"EASQ{AGAIN}"
_OTHER_SEED = 1_000
_QUICK_GRID = 3
# A denser log than this would answer more than the survey of the test split.
SURVEYED_AT_MOST = 0.09


class UnknownNameError(ValueError):
    """A name that is not there; the message lists those that are."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no {kind} {name!r}; there are: {', '.join(known)}")


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        scenarios: of the simulator.
        densities: answers a view in training.
        seeds: of worlds and of models.
        methods: of `METHODS`, `RANKERS` and `A_A`; None: all that the experiment is about.
        kuairand: whether KuaiRand is among the data sets.
        quick: a small cell and a thin grid, to see that all works; its figures mean nothing.
    """

    scenarios: tuple[str, ...] = SCENARIOS
    densities: tuple[float, ...] = DENSITIES
    seeds: tuple[int, ...] = tuple(range(8))
    methods: tuple[str, ...] | None = None
    kuairand: bool = False
    quick: bool = False

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            if scenario not in SCENARIOS:
                raise UnknownNameError("scenario", scenario, SCENARIOS)
        for method in self.methods or ():
            if method not in (*METHODS, *RANKERS, A_A):
                raise UnknownNameError("method", method, (*METHODS, *RANKERS, A_A))
        for density in self.densities:
            if not 1e-6 <= density <= SURVEYED_AT_MOST:
                raise ValueError(
                    f"the density {density:g} is not between 1e-06 and {SURVEYED_AT_MOST:g}: it is "
                    "the number of answers a view"
                )
        if not self.seeds:
            raise ValueError("at least one seed is needed")

    def chosen(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Those of an experiment's methods that were asked for."""
        if self.methods is None:
            return tuple(methods)
        wanted = tuple(method for method in methods if method in self.methods)
        if not wanted:
            raise ValueError(
                f"this experiment is about {', '.join(methods)}; none of them was asked for"
            )
        return wanted

    def cells(self, seed: int) -> list[CellSpec]:
        """The cells of a seed, those of middling density first."""
        size = QUICK if self.quick else FULL
        middle = sorted(self.densities, key=lambda density: abs(density - 2e-3))
        cells = [
            CellSpec(SIMULATED, scenario, density, seed, size=size)
            for density in middle
            for scenario in self.scenarios
        ]
        # The log is one and the same: its seeds are those of models.
        return [*cells, CellSpec(KUAIRAND, "", 0.0, 0)] if self.kuairand else cells

    def grid(self, method: str) -> tuple[float | None, ...]:
        """The weights at which a method is trained: its budget of tuning."""
        if method in RANKERS:
            return (None,)
        grid = method_info(method.removesuffix(AGAIN)).grid or (None,)
        if self.quick and len(grid) > _QUICK_GRID:
            return grid[:: (len(grid) - 1) // (_QUICK_GRID - 1)]
        return grid


def run_of(
    cell: CellSpec,
    method: str,
    seed: int,
    weight: float | None = None,
    **changes: object,
) -> RunSpec:
    """The run of a method in a cell.

    What reads no answers comes out the same at every density, and is run at one.

    Args:
        cell: the data.
        method: of `METHODS`, `RANKERS`, or `A_A`.
        seed: of the model.
        weight: of the trade-off.
        **changes: other fields of `RunSpec`.
    """
    if method == A_A:
        method, seed = method.removesuffix(AGAIN), seed + _OTHER_SEED
    answers = method not in RANKERS and method_info(method).reads_answers
    if not answers and cell.dataset == SIMULATED:
        cell = CellSpec(cell.dataset, cell.scenario, DENSITIES[0], cell.seed, size=cell.size)
    if method in RANKERS:
        seed = 0
    return RunSpec(cell, method, weight, model_seed=seed, **changes)
