"""The experiments by name."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from experiments.options import Options, UnknownNameError
from experiments.runs import RunSpec, RunStore

NAMES = (
    "table1",
    "frontier",
)


class Experiment(Protocol):
    """What a module of an experiment has."""

    ABOUT: str

    def blocks(self, options: Options) -> list[list[RunSpec]]:
        """The runs it needs, in blocks that are finished one after the other."""

    def summary(self, options: Options, store: RunStore) -> dict[str, Any]:
        """What came out of those that are done, as plain data."""


def experiment(name: str) -> Experiment:
    """The module of an experiment.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in NAMES:
        raise UnknownNameError("experiment", name, NAMES)
    return importlib.import_module(f"experiments.{name}")
