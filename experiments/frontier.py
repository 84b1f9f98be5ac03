"""`frontier`: gain in satisfaction against loss of engagement, each method's weight swept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easq_keras.models import METHODS, method_info
from experiments.cells import DENSITIES, KUAIRAND, SIMULATED, USUAL_BIAS, CellSpec
from experiments.judging import ENGAGEMENT
from experiments.matched import COSTS, Mixture, Point, best_mixture
from experiments.options import A_A, MIDDLE, Entry, Options
from experiments.runs import RunSpec, RunStore
from experiments.statistics import Comparison, Sample, holm
from experiments.workers import Place

REFERENCE = Entry.of("EMER")
OURS = "EASQ"
# What the scenarios of one density together are called.
BOTH = "both"
# Points of the plotted curves; the compared ones are among them.
CURVE = (0.01, 0.02, 0.03, 0.05, 0.075, 0.10, 0.15, 0.20)


# By data set its rows, and its cells with their seeds.
Done = dict[str, tuple[list[Entry], list[tuple[int, CellSpec]]]]


def swept_methods() -> tuple[str, ...]:
    """Methods that have a weight to sweep, and the A/A row."""
    return (*(name for name in METHODS if method_info(name).trade_off is not None), A_A)


def cost_metric(cell: CellSpec) -> str:
    """What is lost: expected engagement, and in a real log the behaviour AUC."""
    return "behaviour_auc" if cell.dataset == KUAIRAND else ENGAGEMENT


def gain_metrics(cell: CellSpec) -> tuple[str, ...]:
    """What is gained, the primary metric first."""
    return ("satisfied_auc",) if cell.dataset == KUAIRAND else ("true_top4", "true_ndcg@5")


@dataclass(frozen=True)
class Frontier:
    """An experiment that compares entries at matched cost.

    Attributes:
        about: one line.
        entries: its rows; they may depend on the options.
        densities: answers a view, where none were asked for.
        answer_biases: see `SimulatorConfig.answer_bias`.
        ours: the label that is compared with each of the others.
        only_in_the_middle: labels of rows that simulated cells of another density do without,
            unless methods were asked for.
    """

    about: str
    entries: Callable[[Options], Sequence[Entry]]
    densities: tuple[float, ...] = DENSITIES
    answer_biases: tuple[float, ...] = (USUAL_BIAS,)
    ours: str = OURS
    only_in_the_middle: tuple[str, ...] = ()

    def entries_of(self, options: Options, cell: CellSpec) -> list[Entry]:
        """The rows of a cell."""
        every = options.methods is not None or cell.dataset != SIMULATED or cell.density == MIDDLE
        left_out = () if every else self.only_in_the_middle
        return [entry for entry in self.entries(options) if entry.label not in left_out]

    def cells(self, options: Options, seed: int) -> list[CellSpec]:
        """The cells of a seed; in a quick run of the weakest and the strongest bias alone."""
        ends = dict.fromkeys((self.answer_biases[0], self.answer_biases[-1]))
        return [
            cell if cell.dataset == KUAIRAND else dataclasses.replace(cell, answer_bias=bias)
            for bias in (ends if options.quick else self.answer_biases)
            for cell in options.cells(seed, self.densities)
        ]

    def runs(self, options: Options, cell: CellSpec, seed: int) -> list[RunSpec]:
        """The runs of a cell."""
        entries = (REFERENCE, *self.entries_of(options, cell))
        return [run for entry in entries for run in options.sweep(cell, entry, seed)]

    def blocks(self, options: Options) -> list[list[RunSpec]]:
        """All runs, a block a seed."""
        return [
            [run for cell in self.cells(options, seed) for run in self.runs(options, cell, seed)]
            for seed in options.seeds
        ]

    def done(self, options: Options, store: RunStore) -> Done:
        """What there is something to say of."""
        return done_together(options, store, self.cells, self.entries_of, self.ours)

    def summary(self, options: Options, place: Place) -> dict[str, Any]:
        """What is done so far, in the form of `frontier.json`."""
        store = place.runs
        done = self.done(options, store)
        tables = {
            name: _Table.of(options, store, entries, cells, self.ours)
            for name, (entries, cells) in done.items()
        }
        datasets = [{"name": name, "methods": table.rows()} for name, table in tables.items()]
        scenarios: dict[str, list[_Table]] = {}
        for name, (_, cells) in done.items():
            if cells[0][1].dataset == SIMULATED:
                both = dataclasses.replace(cells[0][1], scenario=BOTH).name
                scenarios.setdefault(both, []).append(tables[name])
        for name, parts in scenarios.items():
            if len(parts) > 1 and set.intersection(*(set(table.seeds) for table in parts)):
                datasets.append({"name": name, "methods": _Table.pooled(parts).rows()})
        tuning = {
            entry.label: {"setting": entry.trade_off, "grid": list(options.grid(entry))}
            for entries, _ in done.values()
            for entry in entries
        }
        return {"costs": list(COSTS), "tuning": tuning, "datasets": datasets}


def done_together(
    options: Options,
    store: RunStore,
    cells: Callable[[Options, int], Sequence[CellSpec]],
    entries: Callable[[Options, CellSpec], Sequence[Entry]],
    ours: str,
) -> Done:
    """By data set the rows that can be compared, and the seeds and cells that count.

    A row counts that is done at half of the seeds at least, beside `ours`; a seed counts at which
    all these rows are done, so that all of them are compared on the same users.

    Args:
        options: what was asked for.
        store: the runs that are there.
        cells: of a seed.
        entries: of a cell.
        ours: the label that is compared with the others.
    """

    def has(entry: Entry, seed: int, cell: CellSpec) -> bool:
        return all(map(store.has, options.sweep(cell, entry, seed)))

    by_name: dict[str, list[tuple[int, CellSpec]]] = {}
    for seed in options.seeds:
        for cell in cells(options, seed):
            by_name.setdefault(cell.name, []).append((seed, cell))
    found: Done = {}
    for name, asked in by_name.items():
        every = entries(options, asked[0][1])
        first = [REFERENCE, *(entry for entry in every if entry.label == ours)]
        begun = [of for of in asked if all(has(entry, *of) for entry in first)]
        rows = [e for e in every if 2 * sum(has(e, *of) for of in begun) >= max(len(begun), 1)]
        whole = [of for of in begun if all(has(entry, *of) for entry in rows)]
        if rows and whole:
            found[name] = (rows, whole)
    return found


def _entries(options: Options) -> list[Entry]:
    return [Entry.of(name) for name in options.chosen(swept_methods())]


EXPERIMENT = Frontier(
    "gain in satisfaction against loss of engagement, each method's weight swept",
    _entries,
    # What is compared with EASQ's own parts.
    only_in_the_middle=("EASQ-w/o-LoRA", "EASQ-w/o-MoE", "EASQ-TopK"),
)


def points(
    options: Options, store: RunStore, cell: CellSpec, entry: Entry, seed: int
) -> list[Point]:
    """The weights of an entry as points on validation."""
    (emer,) = options.sweep(cell, REFERENCE, seed)
    reference = store.result(emer).validation
    cost, gain = cost_metric(cell), gain_metrics(cell)[0]
    found = []
    for run in options.sweep(cell, entry, seed):
        values = store.result(run).validation
        loss = 1 - values[cost] / reference[cost]
        found.append(Point(run.weight, loss, values[gain] - reference[gain]))
    return found


class _Table:
    """Mixtures of all methods on the test users of some seeds, at every budget of cost."""

    def __init__(
        self,
        methods: tuple[str, ...],
        ours: str,
        metrics: tuple[str, ...],
        seeds: list[int],
        values: list[NDArray[np.float64]],
        costs: list[NDArray[np.float64]],
        mixtures: dict[str, list[Any]],
        *,
        same_users: bool = False,
    ) -> None:
        self.methods, self.ours = methods, ours
        self.metrics, self.seeds = metrics, seeds
        self.values, self.costs, self.mixtures = values, costs, mixtures
        self.sample = Sample.of(values, same_users=same_users)

    @classmethod
    def of(
        cls,
        options: Options,
        store: RunStore,
        entries: Sequence[Entry],
        cells: list[tuple[int, CellSpec]],
        ours: str,
    ) -> _Table:
        """The table of one data set."""
        metrics = gain_metrics(cells[0][1])
        values, costs = [], []
        mixtures: dict[str, list[Any]] = {entry.label: [] for entry in entries}
        for seed, cell in cells:
            (reference,) = options.sweep(cell, REFERENCE, seed)
            wanted = (*metrics, cost_metric(cell))
            base = np.stack([store.users(reference, name) for name in wanted], axis=1)
            columns, paid = [], []
            for entry in entries:
                runs = options.sweep(cell, entry, seed)
                found = points(options, store, cell, entry, seed)
                tables = {
                    None: base,
                    **{
                        number: np.stack([store.users(run, name) for name in wanted], axis=1)
                        for number, run in enumerate(runs)
                    },
                }
                chosen = [best_mixture(found, cost) for cost in CURVE]
                mixtures[entry.label].append([_described(mixture, found) for mixture in chosen])
                for mixture in chosen:
                    served = sum(part.share * tables[part.index] for part in mixture)
                    columns.append(served[:, : len(metrics)] - base[:, : len(metrics)])
                    paid.append(1 - np.nanmean(served[:, -1]) / np.nanmean(base[:, -1]))
            values.append(np.concatenate(columns, axis=1))
            costs.append(np.array(paid).reshape(len(entries), len(CURVE)))
        labels = tuple(entry.label for entry in entries)
        seeds = [seed for seed, _ in cells]
        same = cells[0][1].dataset == KUAIRAND
        return cls(labels, ours, metrics, seeds, values, costs, mixtures, same_users=same)

    @classmethod
    def pooled(cls, tables: list[_Table]) -> _Table:
        """Data sets together, with the rows they share: a seed's users are those of all."""
        shared = sorted(set.intersection(*(set(table.seeds) for table in tables)))
        common = set.intersection(*(set(table.methods) for table in tables))
        methods = tuple(method for method in tables[0].methods if method in common)
        parts = [dict(zip(table.seeds, table._of(methods), strict=True)) for table in tables]
        values, costs = [], []
        for seed in shared:
            values.append(np.concatenate([part[seed][0] for part in parts]))
            costs.append(np.mean([part[seed][1] for part in parts], axis=0))
        first = tables[0]
        nothing: dict[str, list[Any]] = {method: [] for method in methods}
        return cls(methods, first.ours, first.metrics, shared, values, costs, nothing)

    def _of(
        self, methods: tuple[str, ...]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """The values and the costs of some rows, by seed."""
        places = [self.methods.index(method) for method in methods]
        width = len(CURVE) * len(self.metrics)
        columns = np.concatenate([np.arange(at * width, (at + 1) * width) for at in places])
        by_seed = zip(self.values, self.costs, strict=True)
        return [(values[:, columns], costs[places]) for values, costs in by_seed]

    def rows(self) -> list[dict[str, Any]]:
        """One row an entry, as the output contract has it."""
        compared = {
            cost: {m: self._against_ours(m, cost) for m in self.methods if m != self.ours}
            for cost in COSTS
            if self.ours in self.methods
        }
        adjusted = {
            cost: holm({m: found.p for m, found in of_cost.items() if m != A_A})
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
                elif method == self.ours:
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
        return self.sample.compare(self._column(self.ours, cost), self._column(method, cost))

    def _column(self, method: str, cost: float, metric: int = 0) -> int:
        place = self.methods.index(method) * len(CURVE) + CURVE.index(cost)
        return place * len(self.metrics) + metric


def _described(mixture: Mixture, found: Sequence[Point]) -> list[list[Any]]:
    """A mixture as `[[weight, share], …]`, null for EMER."""
    return [
        [None if part.index is None else found[part.index].weight, round(part.share, 3)]
        for part in mixture
    ]
