"""All hot paths against their peers, one after the other: `make bench`.

    python benchmarks/suite.py --out FOLDER [--only NAME …] [--torch-python PYTHON]

Leaves `NAME.json` of each benchmark in the folder, and of all that is there `README.md`, a table of
ratios against goals, and `ratios.png`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
# By name the arguments that keep it to minutes.
BENCHMARKS = {
    "example_gen": [],
    "transform": ["--impressions", "250000"],
    "input": [],
    "training_step": ["--growth"],
    "serving": [],
    "run_overhead": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--torch-python", help="an interpreter that has torch, for its peer")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, name in enumerate(arguments.only, start=1):
        print(f"== {name} ({number} of {len(arguments.only)})", flush=True)
        started = time.monotonic()
        file = arguments.out / f"{name}.json"
        command = [sys.executable, str(HERE / f"{name}_speed.py"), *BENCHMARKS[name]]
        if name == "training_step" and arguments.torch_python:
            command += ["--torch-python", arguments.torch_python]
        done = subprocess.run([*command, "--json", str(file)], stderr=subprocess.DEVNULL)
        if done.returncode:
            failed.append(name)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    results = [
        json.loads(file.read_text(encoding="utf-8"))
        for name in BENCHMARKS
        if (file := arguments.out / f"{name}.json").exists()
    ]
    (arguments.out / "README.md").write_text(page(results), encoding="utf-8")
    plot(results, arguments.out / "ratios.png")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; run benchmarks/NAME_speed.py to see why")


def page(results: list[dict[str, Any]]) -> str:
    """A table of all ratios, and the machines they were measured on."""
    lines = [
        "# What `make bench` measured",
        "",
        "Medians over interleaved rounds. [Benchmarks](../README.md) says what is compared.",
        "",
        "| | what | ratio | goal | |",
        "|---|---|---:|---:|---|",
    ]
    for result in results:
        for one in result["ratios"]:
            goal = verdict = ""
            if one["goal"] is not None:
                goal = f"{'≤' if one['at_most'] else '≥'} {one['goal']:g}"
                verdict = "met" if met(one) else "not met"
            cells = [result["benchmark"], one["what"], f"{one['value']:.2f}", goal, verdict]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "![Each ratio over its goal](ratios.png)", "", "Measured on:", ""]
    for result in results:
        machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
        lines.append(f"* {result['benchmark']}: {machine}")
    return "\n".join(lines) + "\n"


def met(one: dict[str, Any]) -> bool:
    """Whether a ratio meets its goal."""
    return one["value"] <= one["goal"] if one["at_most"] else one["value"] >= one["goal"]


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """How far each ratio with a goal is from it: 1 is the goal, more is better."""
    bars = [
        (
            f"{result['benchmark']}: {one['what']}",
            one["goal"] / one["value"] if one["at_most"] else one["value"] / one["goal"],
        )
        for result in results
        for one in result["ratios"]
        if one["goal"] is not None and one["value"] > 0
    ]
    figure, axis = pyplot.subplots(figsize=(9, 1 + 0.35 * len(bars)), layout="constrained")
    names, values = [name for name, _ in bars], [value for _, value in bars]
    colours = ["tab:green" if value >= 1 else "tab:red" for value in values]
    axis.barh(names, values, color=colours)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xscale("log")
    axis.set_xticks(ticks := [0.25, 0.5, 1, 2, 4], [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("times the goal (logarithmic)")
    axis.invert_yaxis()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
