"""`table1`: every system of the paper on the paper's metrics, and on ours.

Each method stands at the weight that validation picks: the largest gain in satisfaction among the
weights of its grid that cost at most 5 % of engagement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easq_keras.models import METHODS
from experiments import frontier
from experiments.cells import KUAIRAND, CellSpec
from experiments.judging import ENGAGEMENT
from experiments.matched import best_within
from experiments.options import A_A, MIDDLE, Entry, Options
from experiments.runs import RANKERS, RunSpec, RunStore
from experiments.statistics import Sample, holm
from experiments.workers import Place

BUDGET = 0.05
SATISFACTION = (
    "hr@1",
    "hr@5",
    "hr@10",
    "ndcg@5",
    "ndcg@10",
    "ndcg@20",
    "mrr",
    "pair_accuracy",
    "satisfied_auc",
    "true_ndcg@5",
    "true_top4",
)
BEHAVIOUR = ("behaviour_ndcg@5", "behaviour_ndcg@10", "behaviour_auc", ENGAGEMENT)
_TRUE = ("true_ndcg@5", "true_top4", ENGAGEMENT)
# Paired differences are reported of these.
COMPARED = ("hr@1", "ndcg@5", "mrr", "pair_accuracy", "true_ndcg@5", "true_top4", ENGAGEMENT)


def entries_of(options: Options, cell: CellSpec) -> list[Entry]:
    """All methods and rankers that the data know of."""
    names = options.chosen((*METHODS, A_A, *RANKERS))
    return [Entry.of(name) for name in names if name != "Oracle" or cell.dataset != KUAIRAND]


@dataclass(frozen=True)
class _Table1:
    about: str

    def blocks(self, options: Options) -> list[list[RunSpec]]:
        """The runs, a block a seed."""
        return [
            [run for cell in _cells(options, seed) for run in _runs(options, cell, seed)]
            for seed in options.seeds
        ]

    def summary(self, options: Options, place: Place) -> dict[str, Any]:
        """`table1.json`: what is done so far, by data set."""
        store = place.runs
        done = frontier.done_together(options, store, _cells, entries_of, frontier.OURS)
        return {
            "budget": BUDGET,
            "datasets": [
                {"name": name, "methods": _rows(options, store, entries, cells)}
                for name, (entries, cells) in done.items()
            ],
        }


EXPERIMENT = _Table1(
    "every method on the paper's metrics and ours, at a budget of 5 % of engagement"
)


def _cells(options: Options, seed: int) -> list[CellSpec]:
    return options.cells(seed, (MIDDLE,))


def _runs(options: Options, cell: CellSpec, seed: int) -> list[RunSpec]:
    entries = (frontier.REFERENCE, *entries_of(options, cell))
    return [run for entry in entries for run in options.sweep(cell, entry, seed)]


def _rows(
    options: Options,
    store: RunStore,
    entries: list[Entry],
    cells: list[tuple[int, CellSpec]],
) -> list[dict[str, Any]]:
    methods = tuple(entry.label for entry in entries)
    known = cells[0][1].dataset != KUAIRAND
    metrics = [name for name in (*SATISFACTION, *BEHAVIOUR) if known or name not in _TRUE]
    chosen: dict[str, list[float | None]] = {method: [] for method in methods}
    values: list[NDArray[np.float64]] = []
    for seed, cell in cells:
        columns = []
        for entry in entries:
            run = chosen_run(options, store, cell, entry, seed)
            chosen[entry.label].append(run.weight)
            columns.extend(store.users(run, metric) for metric in metrics)
        values.append(np.stack(columns, axis=1))
    sample = Sample.of(values, same_users=not known)

    def column(method: str, metric: str) -> int:
        return methods.index(method) * len(metrics) + metrics.index(metric)

    def intervals(method: str, wanted: tuple[str, ...]) -> dict[str, Any]:
        return {
            metric: sample.interval(column(method, metric)).to_dict()
            for metric in wanted
            if metric in metrics
        }

    compared = [metric for metric in COMPARED if metric in metrics]
    verdicts = _verdicts(sample, column, methods, compared)
    return [
        {
            "method": method,
            "n_users": sample.n_users(column(method, "ndcg@5")),
            "n_users_pair_accuracy": sample.n_users(column(method, "pair_accuracy")),
            "seeds": len(cells),
            "weights": chosen[method],
            "satisfaction": intervals(method, SATISFACTION),
            "behaviour": intervals(method, BEHAVIOUR),
            "paired_difference": {
                other: {
                    metric: sample.interval(
                        column(method, metric), minus=column(other, metric)
                    ).to_dict()
                    for metric in compared
                }
                for other in methods
                if other != method
            },
            "easq_is": verdicts.get(method, {}),
        }
        for method in methods
    ]


def chosen_run(
    options: Options, store: RunStore, cell: CellSpec, entry: Entry, seed: int
) -> RunSpec:
    """The run of an entry at the weight that validation picks."""
    runs = options.sweep(cell, entry, seed)
    if len(runs) == 1:
        return runs[0]
    return runs[best_within(frontier.points(options, store, cell, entry, seed), BUDGET)]


def _verdicts(
    sample: Sample, column: Any, methods: tuple[str, ...], metrics: list[str]
) -> dict[str, dict[str, str]]:
    """What the recommended preset is against each method, by metric, adjusted by Holm."""
    if frontier.OURS not in methods:
        return {}
    verdicts: dict[str, dict[str, str]] = {method: {} for method in methods}
    others = [method for method in methods if method != frontier.OURS]
    for metric in metrics:
        found = {
            method: sample.compare(column(frontier.OURS, metric), column(method, metric))
            for method in others
        }
        adjusted = holm({m: of.p for m, of in found.items() if m != A_A})
        for method, comparison in found.items():
            p = adjusted.get(method, comparison.p)
            verdicts[method][metric] = comparison.verdict(p)
    del verdicts[frontier.OURS]
    return verdicts
