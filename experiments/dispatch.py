"""Which worker makes which run next: a plain data structure, so that it can be tested.

Runs come in blocks (a seed each, say), and blocks are finished in order, so that whenever the work
is stopped there are whole blocks to report on. Within a block a worker is given what it can do
without compiling, and without loading other data, first; where it has to load some, those that no
other worker has, for what a method learns offline of them is learnt by each worker anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.runs import RunSpec


@dataclass(frozen=True)
class Task:
    """Runs that share one training.

    Attributes:
        runs: the runs.
        block: the smaller, the earlier.
    """

    runs: tuple[RunSpec, ...]
    block: int

    @property
    def structure(self) -> tuple[Any, ...]:
        """See `RunSpec.structure`."""
        return self.runs[0].structure


@dataclass
class WorkerState:
    """What a worker has at hand: structures it has compiled, and the cell it has or loads."""

    compiled: set[tuple[Any, ...]] = field(default_factory=set)
    cell: Any = None


def tasks_of(blocks: Iterable[Sequence[RunSpec]]) -> list[Task]:
    """Groups runs by what has to be trained; a run that is asked for twice is made once."""
    seen: set[RunSpec] = set()
    tasks: list[Task] = []
    for number, block in enumerate(blocks):
        by_training: dict[RunSpec, list[RunSpec]] = {}
        for run in block:
            if run not in seen:
                seen.add(run)
                by_training.setdefault(run.trained, []).append(run)
        tasks.extend(Task(tuple(runs), number) for runs in by_training.values())
    return tasks


def choose(
    pending: Sequence[Task], worker: WorkerState, others: Sequence[WorkerState] = ()
) -> Task:
    """The task that a free worker makes next.

    Args:
        pending: tasks that nobody makes yet; not empty.
        worker: the free one.
        others: the other workers; what they have compiled and the cells they have loaded are left
            to them where there is a choice.
    """
    block = min(task.block for task in pending)
    elsewhere = set().union(*(other.compiled for other in others))
    loaded_elsewhere = {other.cell for other in others}

    def cost(task: Task) -> tuple[bool, bool, bool, bool]:
        compiled = task.structure in worker.compiled
        cell = task.runs[0].cell
        return (
            not compiled,
            not compiled and task.structure in elsewhere,
            cell != worker.cell,
            cell in loaded_elsewhere,
        )

    return min((task for task in pending if task.block == block), key=cost)
