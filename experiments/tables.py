"""The results as Markdown: tables and plots of all experiments in a folder, each with its command.

Generated from the JSON files alone, so that what a page says and what was measured cannot part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.catalogue import NAMES, experiment
from pipeline.whole_files import whole_file

PAGE = "README.md"


def write_page(folder: Path) -> Path:
    """Writes `README.md` of a folder of results from the JSON files there."""
    parts = [
        "# Results\n\nGenerated from the JSON files beside this page; do not edit. "
        "`easq experiment report --out FOLDER` writes it anew.\n"
    ]
    for name in NAMES:
        file = folder / f"{name}.json"
        if file.exists():
            values = json.loads(file.read_text(encoding="utf-8"))
            parts.append(_section(name, values, folder))
    page = folder / PAGE
    with whole_file(page) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")
    return page


def _section(name: str, values: dict[str, Any], folder: Path) -> str:
    options = values["options"]
    seeds = ",".join(str(seed) for seed in options["seeds"])
    quick = " --quick" if options["quick"] else ""
    about = experiment(name).about
    lines = [
        f"## {name}",
        "",
        f"{about[0].upper()}{about[1:]}.",
        "",
        f"    easq experiment {name} --seeds {seeds}{quick} --out FOLDER",
        "",
        f"Code {values['code']}.",
        "",
    ]
    if options["quick"]:
        lines += ["**A quick run: it shows that all works, its figures mean nothing.**", ""]
    lines += _TABLES.get(name, _frontier)(values)
    plots = sorted(folder.glob(f"{name}*.png"))
    lines += [f"![{plot.stem}]({plot.name})" for plot in plots]
    return "\n".join([*lines, ""])


def _frontier(values: dict[str, Any]) -> list[str]:
    """Gains at each cost, and what the recommended preset is against the row.

    A row that was measured by other code, see `conduct.with_kept_rows`, says so.
    """
    lines = []
    costs = [f"{cost:.2f}" for cost in values["costs"]]
    for dataset in values["datasets"]:
        methods = dataset["methods"]
        lines += [f"### {dataset['name']}", ""]
        head = ["method", "seeds", "users", *(f"gain at {float(cost):.0%}" for cost in costs)]
        head += [f"EASQ − this at {float(cost):.0%}" for cost in costs]
        rows = []
        for row in methods:
            at = [row["at_cost"][cost] for cost in costs]
            rows.append(
                [
                    _name(row),
                    str(row["seeds"]),
                    f"{row['n_users']:,}",
                    *(_interval(entry["gain"]) for entry in at),
                    *(_difference(entry) for entry in at),
                ]
            )
        lines += _table(head, rows)
        lines += _undecided(methods, costs)
    return lines


def _undecided(methods: Sequence[dict[str, Any]], costs: Sequence[str]) -> list[str]:
    """What the data cannot decide, and how many more it would take."""
    reasons = [
        f"* {row['method']} at {float(cost):.0%}: {row['at_cost'][cost]['easq_is']}"
        for row in methods
        for cost in costs
        if row["at_cost"][cost].get("easq_is", "").startswith("too few")
    ]
    return ["Not decided:", "", *reasons, ""] if reasons else []


def _table1(values: dict[str, Any]) -> list[str]:
    lines = [
        f"Each method at the weight that validation picks for a budget of {values['budget']:.0%} "
        "of engagement. The list metrics of the paper reward guessing whom was asked: beside them "
        "stands the oracle, which knows the truth.",
        "",
    ]
    for dataset in values["datasets"]:
        methods = dataset["methods"]
        names = [
            name
            for group in ("satisfaction", "behaviour")
            for name in methods[0][group]
            if methods[0][group][name] is not None
        ]
        lines += [f"### {dataset['name']}", ""]
        rows = [
            [
                _name(row),
                str(row["seeds"]),
                f"{row['n_users']:,}",
                *(_mean({**row["satisfaction"], **row["behaviour"]}.get(name)) for name in names),
            ]
            for row in methods
        ]
        lines += _table(["method", "seeds", "users", *names], rows)
    return lines


def _router(values: dict[str, Any]) -> list[str]:
    lines = []
    for dataset in values["datasets"]:
        names = list(dict.fromkeys(n for row in dataset["methods"] for n in row["training"]))
        rows = [
            [_name(row), *(_interval(row["training"].get(name)) for name in names)]
            for row in dataset["methods"]
        ]
        lines += [f"### {dataset['name']}: {dataset['methods'][0]['seeds']} seeds", ""]
        lines += _table(["router", *names], rows)
    return lines


def _validity(values: dict[str, Any]) -> list[str]:
    lines = []
    for row in values["rows"]:
        answers = [name for name in next(iter(row["behaviours"].values())) if name != "rate"]
        head = ["behaviour", "rate"]
        head += [f"{answer}, {what}" for answer in answers for what in ("lift", "Cohen's d")]
        rows = [
            [
                behaviour,
                f"{found['rate']:.4f}",
                *(
                    _interval(found[answer][what]) if found[answer] else "–"
                    for answer in answers
                    for what in ("lift", "cohens_d")
                ),
            ]
            for behaviour, found in row["behaviours"].items()
        ]
        lines += [f"### {row['name']}", "", *_table(head, rows)]
    return lines


def _name(row: dict[str, Any]) -> str:
    return f"{row['method']} (code {row['code']})" if "code" in row else str(row["method"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _interval(found: dict[str, float | None] | None) -> str:
    if found is None or found["mean"] is None:
        return "–"
    if found["low"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _mean(found: dict[str, float | None] | None) -> str:
    return "–" if found is None or found["mean"] is None else f"{found['mean']:.3f}"


def _difference(entry: dict[str, Any]) -> str:
    found = entry.get("easq_minus_this")
    if found is None or "easq_is" not in entry:
        return "–"
    verdict = entry["easq_is"]
    mark = {"better": " **better**", "worse": " **worse**", "equal": " equal"}.get(verdict, "")
    return f"{_interval(found)}{mark}"


_TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "table1": _table1,
    "router": _router,
    "validity": _validity,
}
