"""ExampleGen: time and memory against a polars script and one-element-a-row Beam, and their growth.

    python benchmarks/example_gen_speed.py [--impressions 250000 1000000 4000000] [--rows 250000]

Logs are the simulator's (12 candidates a request, Parquet). Each measurement is a process of its
own on one core, ours and the row-wise peer with Beam's in-process runner; imports and the simulator
are not measured. All make the same records, as often, or the run fails.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Before polars starts its threads.
os.environ["POLARS_MAX_THREADS"] = "1"

from benchmarks.harness import (
    Ratio,
    cost,
    in_fresh_process,
    on_one_core,
    report,
    simulated_logs,
)

SPLITS = ("train", "eval", "answered")
OURS, POLARS, ROWS = "columnar", "polars", "row by row"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [250_000, 1_000_000, 4_000_000]
    parser.add_argument("--impressions", type=int, nargs="*", default=sizes)
    parser.add_argument("--rows", type=int, default=250_000, help="size of the row-wise peer")
    parser.add_argument("--compare-up-to", type=int, default=1_000_000, help="records, by content")
    parser.add_argument("--json", help="write the result there")
    parser.add_argument("--child", nargs=3, metavar=("WHICH", "LOGS", "OUT"), help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    results = []
    for impressions in sorted({*arguments.impressions, arguments.rows} - {0}):
        with tempfile.TemporaryDirectory() as folder:
            logs = f"{folder}/logs"
            result: dict[str, Any] = {"impressions": simulated_logs(impressions, logs)}
            for which in (OURS, POLARS, *([ROWS] if impressions == arguments.rows else [])):
                result[which] = in_fresh_process(__file__, which, logs, f"{folder}/{which}")
                if impressions <= arguments.compare_up_to:
                    same = records(f"{folder}/{which}") == records(f"{folder}/{OURS}")
                    if not same:
                        sys.exit(f"{which} made other examples of {impressions:,} impressions")
        print(json.dumps(result), flush=True)
        results.append(result)
    print(table(results))
    report("example_gen", ratios(results), {"sizes": results}, arguments.json)


def ratios(results: list[dict[str, Any]]) -> list[Ratio]:
    """Ours against the peers where both were run, and how ours grows."""
    found = []
    for result in results:
        millions = f"{result['impressions'] / 1e6:.2g} M"
        for peer, goal in ((POLARS, 0.5), (ROWS, 10.0)):
            if peer in result:
                value = result[peer]["cpu_seconds"] / result[OURS]["cpu_seconds"]
                what = f"impressions a CPU second, ExampleGen / {peer}, {millions}"
                found.append(Ratio(what, round(value, 2), goal))
    first, last = results[0], results[-1]
    if first is not last:
        times = last["impressions"] / first["impressions"]
        for name, goal in (("cpu_seconds", None), ("peak_mib", 1.2)):
            value = last[OURS][name] / first[OURS][name]
            what = f"{name} of ExampleGen, {times:.3g} times the impressions"
            found.append(Ratio(what, round(value, 2), goal, at_most=True))
    return found


def measure(which: str, logs: str, out: str) -> dict[str, Any]:
    """Makes the examples in this process."""
    on_one_core()
    import apache_beam as beam
    import tensorflow as tf
    from apache_beam.options.pipeline_options import PipelineOptions

    from benchmarks.example_gen_polars import make_examples_with_polars
    from benchmarks.example_gen_row_by_row import make_examples_row_by_row
    from pipeline.example_gen.generate import generate_examples
    from pipeline.logs.dataset_config import load_dataset_config

    def pipeline() -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))

    tf.train.Example().SerializeToString()
    dataset = load_dataset_config("simulated")
    with cost() as found:
        if which == OURS:
            generate_examples(dataset, logs, out, pipeline)
        elif which == POLARS:
            make_examples_with_polars(dataset, logs, out)
        else:
            with pipeline() as rows:
                make_examples_row_by_row(rows, dataset, logs, out)
    return found


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
        for which in (OURS, POLARS, ROWS):
            if which in result:
                run, rows = result[which], result["impressions"]
                rate = rows / run["cpu_seconds"]
                lines.append(
                    f"| {rows:,} | {which} | {run['seconds']:.1f} | {run['cpu_seconds']:.1f} | "
                    f"{rate:,.0f} | {run['peak_mib']:,} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
