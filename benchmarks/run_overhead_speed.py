"""What a small run of the pipeline costs besides importing TFX and training.

    python benchmarks/run_overhead_speed.py [--requests 5000] [--rounds 2]

`easq run` as a user calls it, on simulated logs, each time in a fresh work folder. The data are so
few that what the other components take is their start: Beam pipelines, graphs, metadata, a server.
The second figure of each round is the run repeated in the same folder, where all steps come out of
the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import Ratio, report
from simulator import SimulatorConfig, write_logs

IMPORT, TRAINING = "Import of TFX", "Trainer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", help="write the result there")
    arguments = parser.parse_args()
    runs, cached = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_logs(SimulatorConfig(requests=arguments.requests), f"{folder}/logs")
        for number in range(arguments.rounds):
            runs.append(run(f"{folder}/logs", f"{folder}/{number}"))
            cached.append(run(f"{folder}/logs", f"{folder}/{number}"))
    steps = {
        name: statistics.median(one["steps"].get(name, 0.0) for one in runs)
        for name in runs[0]["steps"]
    }
    whole = statistics.median(one["seconds"] for one in runs)
    besides = [one["seconds"] - one["steps"][IMPORT] - one["steps"][TRAINING] for one in runs]
    again = statistics.median(one["seconds"] for one in cached)
    for name, seconds in steps.items():
        print(f"{seconds:8.1f} s  {name}")
    print(f"{whole - sum(steps.values()):8.1f} s  between the steps, report and served slate")
    ratios = [
        Ratio(
            "seconds besides TFX's import and training",
            statistics.median(besides),
            25,
            at_most=True,
        ),
        Ratio("training / whole run", steps[TRAINING] / whole),
        Ratio("repeated run, all steps cached / whole run", again / whole),
    ]
    figures = {"runs": runs, "cached": cached, "requests": arguments.requests}
    report("run_overhead", ratios, figures, arguments.json)


def run(logs: str, work: str) -> dict[str, Any]:
    """Seconds of a run and of its steps."""
    command = [sys.executable, "-m", "cli.main", "run", "--data-dir", logs, "--workdir", work]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - started
    steps = json.loads(Path(work, "report.json").read_text(encoding="utf-8"))["steps"]
    return {
        "seconds": round(seconds, 2),
        "steps": {step["name"]: step["seconds"] for step in steps},
    }


if __name__ == "__main__":
    main()
