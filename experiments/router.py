"""`router` (Fig. 4 of the paper): ReLU against Top-K routing, and what keeps experts alive."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments import frontier
from experiments.cells import CellSpec
from experiments.options import MIDDLE, Entry, Options
from experiments.runs import Result, RunStore, settings_of
from experiments.statistics import Sample
from experiments.workers import Place

_WEIGHT = (1.0,)


def entries() -> list[Entry]:
    """The rows, all at one weight: it is the routers that are looked at."""
    relu = settings_of(use_moe=True)
    no_bias = settings_of(use_moe=True, gate_bias=None)
    plain = settings_of(use_moe=True, gate_bias=None, router_norm=False)
    return [
        Entry("ReLU", "EASQ", relu, grid=_WEIGHT),
        Entry("Top-K softmax", "EASQ-TopK", grid=_WEIGHT),
        Entry("ReLU, no gate bias", "EASQ", no_bias, grid=_WEIGHT),
        Entry("ReLU, no bias, no norm", "EASQ", plain, grid=_WEIGHT),
        Entry("ReLU of the paper preset", "EASQ-paper", grid=(10.0,)),
        Entry("Top-K in the paper preset", "EASQ-paper", settings_of(router="top_k"), grid=(10.0,)),
    ]


class _Router(frontier.Frontier):
    def summary(self, options: Options, place: Place) -> dict[str, Any]:
        """`router.json`: at the end of training, means over seeds with intervals."""
        store = place.runs
        return {
            "datasets": [
                {"name": name, "methods": [_row(options, store, entry, of) for entry in rows]}
                for name, (rows, of) in self.done(options, store).items()
            ]
        }


EXPERIMENT = _Router(
    "ReLU against Top-K routing: share of active experts, dead experts, candidates without any",
    lambda options: options.chosen_entries(entries()),
    (MIDDLE,),
)


def _row(
    options: Options, store: RunStore, entry: Entry, cells: list[tuple[int, CellSpec]]
) -> dict[str, Any]:
    results: list[Result] = [
        store.result(options.sweep(cell, entry, seed)[0]) for seed, cell in cells
    ]
    routing = sorted(name for name in results[0].training if "router/" in name)
    known = sorted(name for name, value in results[0].test.items() if value is not None)
    return {
        "method": entry.label,
        "seeds": len(results),
        "training": {name: _over_seeds([r.training[name] for r in results]) for name in routing},
        "test": {name: _over_seeds([float(r.test[name] or 0) for r in results]) for name in known},
    }


def _over_seeds(values: list[float]) -> dict[str, float | None]:
    """A mean over seeds, which are what the bootstrap draws."""
    found = Sample.of([np.array(values)[:, None]]).interval(0).to_dict()
    return {**found, "mean": round(float(np.mean(values)), 4)}
