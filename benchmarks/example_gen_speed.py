"""ExampleGen: time and memory against one-element-a-row Beam, and how they grow with the log.

    python benchmarks/example_gen_speed.py [--impressions 250000 1000000 4000000] [--peer 1000000]

Logs are the simulator's (12 candidates a request, Parquet). Each measurement is a process of its
own with Beam's in-process runner; imports and the simulator are not measured. At the size of the
peer, the examples of both are compared: the same records, as often. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulator import SimulatorConfig, write_logs

SPLITS = ("train", "eval", "answered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [250_000, 1_000_000, 4_000_000]
    parser.add_argument("--impressions", type=int, nargs="*", default=sizes)
    parser.add_argument("--peer", type=int, default=1_000_000, help="0: leave the peer out")
    parser.add_argument("--child", nargs=3, metavar=("WHICH", "LOGS", "OUT"), help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    results = []
    for impressions in sorted({*arguments.impressions, arguments.peer} - {0}):
        with tempfile.TemporaryDirectory() as folder:
            logs, made, by_row = (str(Path(folder) / name) for name in ("logs", "made", "rows"))
            requests = -(-impressions // 12)
            write_logs(SimulatorConfig(requests=requests, users=max(300, requests // 30)), logs)
            result = {"impressions": 12 * requests, "columnar": in_process("columnar", logs, made)}
            if impressions == arguments.peer:
                result["row_by_row"] = in_process("row_by_row", logs, by_row)
                examples = records(made)
                result["examples"] = {
                    split: sum(found.values()) for split, found in examples.items()
                }
                result["same_examples"] = examples == records(by_row)
        print(json.dumps(result), flush=True)
        results.append(result)
    print(table(results))
    print(json.dumps(results))
    if not all(result.get("same_examples", True) for result in results):
        sys.exit("the peer made other examples")


def in_process(which: str, logs: str, out: str) -> dict[str, Any]:
    """The measurement, by a fresh process."""
    command = [sys.executable, __file__, "--child", which, logs, out]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure(which: str, logs: str, out: str) -> dict[str, Any]:
    """Makes the examples in this process."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from benchmarks.example_gen_row_by_row import make_examples_row_by_row
    from pipeline.example_gen.generate import generate_examples
    from pipeline.logs.dataset_config import load_dataset_config

    def pipeline() -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))

    dataset = load_dataset_config("simulated")
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu_start = time.perf_counter(), time.process_time()
    if which == "columnar":
        generate_examples(dataset, logs, out, pipeline)
    else:
        with pipeline() as rows:
            make_examples_row_by_row(rows, dataset, logs, out)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu_start, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "imports_mib": imported // 1024,
    }


def records(folder: str) -> dict[str, collections.Counter[bytes]]:
    """How often each record is in each split, whatever the files."""
    import tensorflow as tf

    return {
        split: collections.Counter(
            hashlib.sha256(record.numpy()).digest()
            for file in sorted(Path(folder).glob(f"*{split}*/*"))
            + list(Path(folder).glob(f"{split}-*"))
            for record in tf.data.TFRecordDataset(str(file))
        )
        for split in SPLITS
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| impressions | | seconds | CPU seconds | impressions a CPU second | peak MiB |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for result in results:
        for which in ("columnar", "row_by_row"):
            if which in result:
                run, rows = result[which], result["impressions"]
                rate = rows / run["cpu_seconds"]
                lines.append(
                    f"| {rows:,} | {which} | {run['seconds']} | {run['cpu_seconds']} | "
                    f"{rate:,.0f} | {run['peak_mib']:,} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
