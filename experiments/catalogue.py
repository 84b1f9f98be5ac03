"""The experiments by name."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from experiments.options import Options, UnknownNameError
from experiments.runs import RunSpec
from experiments.workers import Place

NAMES = (
    "validity",
    "frontier",
    "table1",
    "ablation",
    "router",
    "sparsity",
    "sensitivity",
    "bias",
)


class Experiment(Protocol):
    """What `EXPERIMENT` of a module is.

    Attributes:
        about: one line.
    """

    @property
    def about(self) -> str: ...

    def blocks(self, options: Options) -> list[list[RunSpec]]:
        """The runs it needs, in blocks that are finished one after the other."""

    def summary(self, options: Options, place: Place) -> dict[str, Any]:
        """What came out of those that are done, as plain data."""


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in NAMES:
        raise UnknownNameError("experiment", name, NAMES)
    return importlib.import_module(f"experiments.{name}").EXPERIMENT
