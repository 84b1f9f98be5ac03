"""`frontier`: gain in satisfaction against loss of engagement, each method's weight swept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easq_keras.models import METHODS, method_info
from experiments.cells import KUAIRAND, CellSpec
from experiments.judging import ENGAGEMENT
from experiments.matched import COSTS, Mixture, Point, best_mixture
from experiments.options import A_A, AGAIN, Options, run_of
from experiments.runs import RunSpec, RunStore
from experiments.statistics import Comparison, Sample, holm

ABOUT = "gain in satisfaction against loss of engagement, each method's weight swept"
REFERENCE = "EMER"
OURS = "EASQ"
# Points of the plotted curves; the compared ones are among them.
CURVE = (0.01, 0.02, 0.03, 0.05, 0.075, 0.10, 0.15, 0.20)


def swept_methods() -> tuple[str, ...]:
    """Methods that have a weight to sweep, and the A/A row."""
    return (*(name for name in METHODS if method_info(name).trade_off is not None), A_A)


def cost_metric(cell: CellSpec) -> str:
    """What is lost: expected engagement, and in a real log the behaviour AUC."""
    return "behaviour_auc" if cell.dataset == KUAIRAND else ENGAGEMENT


def gain_metrics(cell: CellSpec) -> tuple[str, ...]:
    """What is gained, the primary metric first."""
    return ("satisfied_auc",) if cell.dataset == KUAIRAND else ("true_top4", "true_ndcg@5")


def blocks(options: Options) -> list[list[RunSpec]]:
    """The runs, a block a seed."""
    methods = options.chosen(swept_methods())
    return [
        [
            run
            for cell in options.cells(seed)
            for method in (REFERENCE, *methods)
            for run in sweep(options, cell, method, seed)
        ]
        for seed in options.seeds
    ]


def sweep(options: Options, cell: CellSpec, method: str, seed: int) -> list[RunSpec]:
    """The runs of a method in a cell, one a weight of its grid."""
    return [run_of(cell, method, seed, weight) for weight in options.grid(method)]


def points(store: RunStore, cell: CellSpec, runs: Sequence[RunSpec], seed: int) -> list[Point]:
    """The weights of a method as points on validation."""
    reference = store.result(run_of(cell, REFERENCE, seed)).validation
    cost, gain = cost_metric(cell), gain_metrics(cell)[0]
    found = []
    for run in runs:
        values = store.result(run).validation
        loss = 1 - values[cost] / reference[cost]
        found.append(Point(run.weight, loss, values[gain] - reference[gain]))
    return found


def finished_seeds(store: RunStore, blocks_by_seed: dict[int, list[RunSpec]]) -> list[int]:
    """The seeds of which every run is done."""
    return [seed for seed, runs in blocks_by_seed.items() if all(map(store.has, runs))]


def summary(options: Options, store: RunStore) -> dict[str, Any]:
    """`frontier.json`: what is done so far, by data set; only seeds that are whole count."""
    by_name: dict[str, list[tuple[int, CellSpec]]] = {}
    methods = options.chosen(swept_methods())
    for seed in options.seeds:
        for cell in options.cells(seed):
            runs = [
                run for name in (REFERENCE, *methods) for run in sweep(options, cell, name, seed)
            ]
            if all(map(store.has, runs)):
                by_name.setdefault(cell.name, []).append((seed, cell))
    tables = {name: _Table.of(options, store, methods, of) for name, of in by_name.items()}
    datasets = [{"name": name, "methods": table.rows()} for name, table in tables.items()]
    simulated = [table for name, table in tables.items() if name != KUAIRAND]
    if len(simulated) > 1:
        datasets.append({"name": "simulated", "methods": _Table.pooled(simulated).rows()})
    return {"costs": list(COSTS), "tuning": _tuning(options, methods), "datasets": datasets}


def _tuning(options: Options, methods: Sequence[str]) -> dict[str, Any]:
    return {
        method: {
            "setting": method_info(method.removesuffix(AGAIN)).trade_off,
            "grid": list(options.grid(method)),
        }
        for method in methods
    }


class _Table:
    """Mixtures of all methods on the test users of some seeds, at every budget of cost."""

    def __init__(
        self,
        methods: tuple[str, ...],
        metrics: tuple[str, ...],
        seeds: list[int],
        values: list[NDArray[np.float64]],
        costs: list[NDArray[np.float64]],
        mixtures: dict[str, list[Any]],
    ) -> None:
        self.methods, self.metrics, self.seeds = methods, metrics, seeds
        self.values, self.costs, self.mixtures = values, costs, mixtures
        self.sample = Sample.of(values)

    @classmethod
    def of(
        cls,
        options: Options,
        store: RunStore,
        methods: tuple[str, ...],
        cells: list[tuple[int, CellSpec]],
    ) -> _Table:
        """The table of one data set."""
        metrics = gain_metrics(cells[0][1])
        values, costs = [], []
        mixtures: dict[str, list[Any]] = {method: [] for method in methods}
        for seed, cell in cells:
            reference = run_of(cell, REFERENCE, seed)
            wanted = (*metrics, cost_metric(cell))
            base = np.stack([store.users(reference, name) for name in wanted], axis=1)
            columns, paid = [], []
            for method in methods:
                runs = sweep(options, cell, method, seed)
                found = points(store, cell, runs, seed)
                tables = {
                    None: base,
                    **{
                        number: np.stack([store.users(run, name) for name in wanted], axis=1)
                        for number, run in enumerate(runs)
                    },
                }
                chosen = [best_mixture(found, cost) for cost in CURVE]
                mixtures[method].append([_described(mixture, found) for mixture in chosen])
                for mixture in chosen:
                    served = sum(part.share * tables[part.index] for part in mixture)
                    columns.append(served[:, : len(metrics)] - base[:, : len(metrics)])
                    paid.append(1 - np.nanmean(served[:, -1]) / np.nanmean(base[:, -1]))
            values.append(np.concatenate(columns, axis=1))
            costs.append(np.array(paid).reshape(len(methods), len(CURVE)))
        return cls(methods, metrics, [seed for seed, _ in cells], values, costs, mixtures)

    @classmethod
    def pooled(cls, tables: list[_Table]) -> _Table:
        """All data sets at once: a seed's users are those of all its worlds."""
        shared = sorted(set.intersection(*(set(table.seeds) for table in tables)))
        values, costs = [], []
        for seed in shared:
            at = [table.seeds.index(seed) for table in tables]
            pairs = list(zip(tables, at, strict=True))
            values.append(np.concatenate([table.values[number] for table, number in pairs]))
            costs.append(np.mean([table.costs[number] for table, number in pairs], axis=0))
        first = tables[0]
        nothing: dict[str, list[Any]] = {method: [] for method in first.methods}
        return cls(first.methods, first.metrics, shared, values, costs, nothing)

    def rows(self) -> list[dict[str, Any]]:
        """One entry a method, as the output contract has it."""
        compared = {
            cost: {m: self._against_ours(m, cost) for m in self.methods if m != OURS}
            for cost in COSTS
            if OURS in self.methods
        }
        adjusted = {
            cost: holm({m: found.p for m, found in of_cost.items() if not m.endswith(AGAIN)})
            for cost, of_cost in compared.items()
        }
        rows = []
        for method in self.methods:
            at_cost = {}
            for cost in COSTS:
                entry = self._at(method, cost)
                if method in compared.get(cost, {}):
                    found = compared[cost][method]
                    p = adjusted[cost].get(method, found.p)
                    entry["easq_minus_this"] = found.difference.to_dict()
                    entry["p"] = round(p, 4)
                    entry["easq_is"] = found.verdict(p)
                elif method == OURS:
                    entry["easq_minus_this"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
                at_cost[f"{cost:.2f}"] = entry
            rows.append(
                {
                    "method": method,
                    "n_users": self.sample.n_users(self._column(method, COSTS[0])),
                    "seeds": len(self.seeds),
                    "at_cost": at_cost,
                    "curve": [{"budget": cost, **self._at(method, cost)} for cost in CURVE],
                    "validation_chose": self.mixtures[method],
                }
            )
        return rows

    def _at(self, method: str, cost: float) -> dict[str, Any]:
        paid = [of_seed[self.methods.index(method), CURVE.index(cost)] for of_seed in self.costs]
        gains = {
            f"gain {metric}" if number else "gain": self.sample.interval(
                self._column(method, cost, number)
            ).to_dict()
            for number, metric in enumerate(self.metrics)
        }
        return {**gains, "cost": round(float(np.mean(paid)), 4)}

    def _against_ours(self, method: str, cost: float) -> Comparison:
        return self.sample.compare(self._column(OURS, cost), self._column(method, cost))

    def _column(self, method: str, cost: float, metric: int = 0) -> int:
        place = self.methods.index(method) * len(CURVE) + CURVE.index(cost)
        return place * len(self.metrics) + metric


def _described(mixture: Mixture, found: Sequence[Point]) -> list[list[Any]]:
    """A mixture as `[[weight, share], …]`, null for EMER."""
    return [
        [None if part.index is None else found[part.index].weight, round(part.share, 3)]
        for part in mixture
    ]
