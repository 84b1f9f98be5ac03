"""What a span costs from its landing to the pushed model, and whether that grows with history.

    python benchmarks/online_speed.py [--spans 44] [--impressions 100000]

A full fit, then spans of equal size one after the other in one process, as in `easq online`:
simulated requests of 12 candidates, answers where they arrive, default settings. For each span and
step: seconds on the clock and of the processor (which other work on the machine hardly changes),
resident memory, bytes on disk. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq

from benchmarks.online_spans_speed import CANDIDATES, landing, resident_mib
from cli.framework_log import framework_log
from pipeline.configs import RunSettings
from pipeline.local_runner import ComponentEvent, Workdir, local_pipeline, run_pipeline
from pipeline.logs.dataset_config import load_dataset_config
from simulator import SimulatorConfig, World, write_logs
from simulator.logs import items_table, users_table

FIT_REQUESTS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=44)
    parser.add_argument("--impressions", type=int, default=100_000, help="of one span")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, framework_log(Path(name, "log")) as terminal:
        print(json.dumps(measure(Path(name), terminal, **vars(arguments))))


class StepClock:
    """Seconds on the clock and of the processor, by step."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.work: dict[str, float] = {}
        self._started = (0.0, 0.0)

    def __call__(self, event: ComponentEvent) -> None:
        now = time.monotonic(), time.process_time()
        if event.finished:
            self.wall[event.component] = now[0] - self._started[0]
            self.work[event.component] = now[1] - self._started[1]
        self._started = now


def measure(folder: Path, terminal: io.TextIOBase, spans: int, impressions: int) -> dict:
    """Learns `spans` spans one after the other."""
    dataset, settings = load_dataset_config("simulated"), RunSettings()
    workdir = Workdir(folder / "run")
    requests = -(-impressions // CANDIDATES)
    users = max(600, requests // 4)
    begun = time.monotonic()
    from pipeline.online.engine import OnlineEngine

    imported = time.monotonic() - begun
    write_logs(SimulatorConfig(requests=FIT_REQUESTS, users=users), folder / "base")
    run_pipeline(local_pipeline(workdir, dataset, folder / "base", settings), lambda event: None)
    world = World(SimulatorConfig(requests=requests * spans, users=users, days=-(-spans // 24)))
    (folder / "spans").mkdir()
    for table, rows in (("users", users_table(world)), ("items", items_table(world))):
        pq.write_table(rows, folder / "spans" / f"{table}.parquet")
    clock = StepClock()
    engine = OnlineEngine(workdir, dataset, settings, clock)
    engine.resume()
    measured = []
    for span in landing(world, folder / "spans", requests):
        wall, work = time.monotonic(), time.process_time()
        result = engine.process(span)
        row = {
            "span": result.sequence,
            "impressions": result.counts["impressions"]["used"],
            "seconds": time.monotonic() - wall,
            "cpu": time.process_time() - work,
            "rss_mib": resident_mib(),
            "disk_mib": disk_mib(workdir.root),
            "steps": {**clock.wall, **engine_parts(result.seconds)},
            "steps_cpu": dict(clock.work),
            "pushed": result.version is not None,
        }
        measured.append(row)
        print(
            f"{row['span']:>3}  {row['seconds']:6.1f} s  {row['cpu']:6.1f} CPU s  "
            f"{row['rss_mib']:,.0f} MiB in memory  {row['disk_mib']:,.0f} MiB on disk",
            file=terminal,
        )
    settled = measured[3:]
    return {
        "import_seconds": round(imported, 1),
        "load": os.getloadavg()[0],
        "median_seconds": statistics.median(row["seconds"] for row in settled),
        "median_cpu": statistics.median(row["cpu"] for row in settled),
        "last_over_fourth_cpu": window(measured, -3, None) / window(measured, 3, 6),
        "steps_cpu": {
            step: round(statistics.median(row["steps_cpu"].get(step, 0.0) for row in settled), 2)
            for step in settled[0]["steps_cpu"]
        },
        "spans": measured,
    }


def window(measured: list[dict], start: int, end: int | None) -> float:
    """Median processor time of some spans."""
    return statistics.median(row["cpu"] for row in measured[start:end])


def engine_parts(seconds: dict[str, float]) -> dict[str, float]:
    """The parts of the Trainer's time."""
    return {part: seconds[part] for part in ("learn", "checkpoint", "export")}


def disk_mib(folder: Path) -> float:
    """All files below a folder; one with several names counts once."""
    return sum(dict(files(folder)).values()) / 2**20


def files(folder: Path) -> Iterator[tuple[int, int]]:
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            if path.is_file():
                yield stat.st_ino, stat.st_size


if __name__ == "__main__":
    main()
