"""The data side of online learning: time of a span, and whether it grows with history.

    python benchmarks/online_spans_speed.py [--spans 44] [--impressions 100000] [--hours 1]

Spans of equal size follow each other in one process, as in `easq online`: simulated requests of 12
candidates, answers where they arrive. For each span: seconds from its files to examples and store,
on the clock and of the processor (which other work on the machine hardly changes), size of the
store, resident memory. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.logs.dataset_config import load_dataset_config
from pipeline.online.impression_store import remove_old_stores
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span
from simulator import SimulatorConfig, World
from simulator.logs import items_table, log_steps, users_table

CANDIDATES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=44)
    parser.add_argument("--impressions", type=int, default=100_000, help="of one span")
    parser.add_argument("--hours", type=float, default=1.0, help="how long a span is, on average")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), **vars(arguments))))


def measure(folder: Path, spans: int, impressions: int, hours: float) -> dict[str, object]:
    """Learns `spans` spans one after the other."""
    requests = -(-impressions // CANDIDATES)
    days = -(-int(spans * hours) // 24)
    world = World(
        SimulatorConfig(requests=requests * spans, days=max(days, 1), users=max(600, requests // 4))
    )
    dataset = load_dataset_config("simulated")
    for table, rows in (("users", users_table(world)), ("items", items_table(world))):
        pq.write_table(rows, folder / f"{table}.parquet")
    stores: list[Path] = []
    seconds, work, memory, sizes = [], [], [], []
    for number, span in enumerate(landing(world, folder, requests), start=1):
        store = folder / f"store-{number}"
        start, work_start = time.perf_counter(), time.process_time()
        report = write_span_examples(
            span, dataset, stores[-1] if stores else None, folder / f"made-{number}", store
        )
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - work_start)
        stores.append(store)
        for old in remove_old_stores(stores, keep=2):
            stores.remove(old)
        for old in (span.path, folder / f"made-{number}"):
            shutil.rmtree(old)
        memory.append(resident_mib())
        sizes.append(report["store"]["bytes"] / 2**20)
        print(
            f"span {number:3}  {seconds[-1]:5.2f} s, processor {work[-1]:5.2f} s"
            f"  impressions {report['impressions']['used']:,}"
            f"  late answers {report['answers']['late_used']:3}"
            f"  answered slates {report['slates']['answered']:5}"
            f"  store {report['store']['spans']:3} spans {sizes[-1]:6.1f} MiB"
            f"  resident {memory[-1]:6.0f} MiB",
            flush=True,
        )
    early, late = work[3 : min(8, spans)], work[-5:]
    return {
        "spans": spans,
        "impressions": impressions,
        "median_seconds": round(statistics.median(seconds[1:]), 3),
        "median_processor_seconds": round(statistics.median(work[1:]), 3),
        "processor_seconds_from_span_4": round(statistics.median(early), 3),
        "processor_seconds_at_the_end": round(statistics.median(late), 3),
        "ratio": round(statistics.median(late) / statistics.median(early), 3),
        "store_mib": round(sizes[-1], 1),
        "resident_mib_after_10": round(memory[min(9, spans - 1)]),
        "resident_mib_at_the_end": round(memory[-1]),
    }


def landing(world: World, folder: Path, requests: int):
    """Spans of so many requests each, written one at a time."""
    shown: list[pa.Table] = []
    asked: list[pa.Table] = []
    number, rows = 0, requests * CANDIDATES
    for impressions, questionnaires in log_steps(world):
        shown.append(impressions)
        asked.append(questionnaires)
        while sum(table.num_rows for table in shown) >= rows:
            together, all_asked = pa.concat_tables(shown), pa.concat_tables(asked)
            number += 1
            end_ms = int(together["time_ms"][rows - 1].as_py())
            answered, issued = (
                all_asked[name].fill_null(0).to_numpy() for name in ("answered_ms", "issued_ms")
            )
            arrived = pa.array(np.where(answered > 0, answered, issued) <= end_ms)
            span = folder / f"span={number}"
            span.mkdir()
            pq.write_table(together.slice(0, rows), span / "impressions.parquet")
            pq.write_table(all_asked.filter(arrived), span / "questionnaires.parquet")
            shown = [together.slice(rows).combine_chunks()]
            asked = [all_asked.filter(pa.compute.invert(arrived)).combine_chunks()]
            yield Span.at(span)


def resident_mib() -> float:
    """Of this process, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


if __name__ == "__main__":
    main()
