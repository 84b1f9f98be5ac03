"""How fast the simulator makes logs, on one core, and in how much memory.

    python benchmarks/simulator_speed.py [--requests 300000] [--users 30000] [--items 50000]

Counts *shown* videos (exposed rows), not candidates. Two figures: making the Arrow tables, and
making them and writing the Parquet files. The process is pinned to one core. The last line is one
JSON object.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if hasattr(os, "sched_setaffinity"):  # before numpy and pyarrow count the cores
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

from simulator import SimulatorConfig, World, write_logs
from simulator.logs import log_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--scenario", default="mild")
    arguments = parser.parse_args()
    config = SimulatorConfig(**vars(arguments))
    shown = config.requests * config.exposed

    for _ in log_steps(World(SimulatorConfig(requests=2_000))):  # first use of numpy and pyarrow
        pass
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in log_steps(World(config)):
        pass
    made, made_cpu = time.perf_counter() - start, time.process_time() - cpu_start
    with tempfile.TemporaryDirectory() as folder:
        start, cpu_start = time.perf_counter(), time.process_time()
        write_logs(config, folder)
        written, written_cpu = time.perf_counter() - start, time.process_time() - cpu_start
        size = sum(path.stat().st_size for path in Path(folder).iterdir())

    result = {
        "requests": config.requests,
        "candidate_rows": config.requests * config.candidates,
        "exposed_rows": shown,
        "tables_exposed_rows_per_second": round(shown / made),
        "files_exposed_rows_per_second": round(shown / written),
        "tables_exposed_rows_per_cpu_second": round(shown / made_cpu),
        "files_exposed_rows_per_cpu_second": round(shown / written_cpu),
        "file_bytes": size,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(
        f"simulator, one core: {result['tables_exposed_rows_per_second']:,} exposed rows/s as "
        f"tables, {result['files_exposed_rows_per_second']:,} with the files written; "
        f"{result['peak_memory_mib']} MiB at the most"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
