"""The data side and training with one worker and with two: what the second one gives.

    python benchmarks/scaling_speed.py [--impressions 2000000]

Logs are the simulator's (12 candidates a request, Parquet). ExampleGen, statistics and Transform's
analysis run in the process, which is one worker, and on two worker processes of Beam. What workers
cost before they do anything (their start, their imports) is measured on a log of some rows and
listed apart. Training runs on workers of one core each that share steps of 512 slates; its seconds
are those of a step, start and compilation apart. On a machine with other work trust the efficiency
of the processors' time: what one worker uses against what two use in all, the time in which one
waits for the other left out. The last line is one JSON object, with CPU seconds for
`benchmarks/capacity.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import CANDIDATES, cpu_seconds, simulated_logs

TINY = 2_400
STAGES = ("ExampleGen", "statistics", "Transform")
BATCH, WARM_UP = 512, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", type=int, default=2_000_000)
    parser.add_argument("--child", nargs="+", help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        kind, *rest = arguments.child
        print(json.dumps({"data": data_side, "train": training}[kind](*rest)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(measure(arguments.impressions, Path(folder)), arguments.impressions)


def measure(impressions: int, folder: Path) -> dict[str, Any]:
    for size, rows in (("start", TINY), ("all", impressions)):
        simulated_logs(rows, str(folder / size))
    data = {}
    for workers in (1, 2):
        command = child("data", str(workers), str(folder))
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        data[workers] = json.loads(run.stdout.splitlines()[-1])
    steps = {workers: train_with(workers, folder / "all-made-1") for workers in (1, 2)}
    return {"data": data, "step": steps}


def child(*arguments: str) -> list[str]:
    return [sys.executable, __file__, "--child", *arguments]


def train_with(workers: int, made: Path) -> dict[str, float]:
    """Seconds, and CPU seconds of all, of a step that so many workers share, each on a core."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    processes = []
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            child("train", str(index), str(made)),
            env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    of_workers = [json.loads(out.splitlines()[-1]) for out in said]
    return {
        "seconds": max(one["seconds"] for one in of_workers),
        "cpu": sum(one["cpu"] for one in of_workers),
    }


def data_side(workers: str, folder: str) -> dict[str, dict[str, dict[str, float]]]:
    """By stage and size, seconds and CPU seconds, the imports of this process apart."""
    import apache_beam as beam
    import tensorflow_data_validation as tfdv
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tfx_bsl.public import tfxio

    from pipeline.example_gen.generate import generate_examples
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.slate_schema import slate_schema
    from pipeline.transform import preprocessing_fn

    processes = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    options = PipelineOptions(["--runner=FnApiRunner", *(processes if workers != "1" else [])])
    dataset = load_dataset_config("simulated")
    schema, custom = slate_schema(dataset), {"dataset_config": dataset.to_json()}

    def examples(logs: str, out: str) -> None:
        generate_examples(dataset, logs, out, lambda: beam.Pipeline(options=options))

    def statistics(logs: str, out: str) -> None:
        source = tfxio.TFExampleRecord(f"{out}/Split-train/*", schema=schema)
        with beam.Pipeline(options=options) as pipeline:
            found = pipeline | source.BeamSource() | tfdv.GenerateStatistics(tfdv.StatsOptions())
            _ = found | tfdv.WriteStatisticsToBinaryFile(f"{out}/statistics.pb")

    def transform(logs: str, out: str) -> None:
        source = tfxio.TFExampleRecord(f"{out}/Split-train/*", schema=schema)
        with beam.Pipeline(options=options) as pipeline, tft_beam.Context(f"{out}/tmp"):
            data = pipeline | source.BeamSource()
            graph = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
                lambda inputs: preprocessing_fn(inputs, custom)
            )
            _ = graph | tft_beam.WriteTransformFn(f"{out}/graph")

    return {
        stage: {
            size: cost(work, f"{folder}/{size}", f"{folder}/{size}-made-{workers}")
            for size in ("start", "all")
        }
        for stage, work in zip(STAGES, (examples, statistics, transform), strict=True)
    }


def cost(work: Callable[[str, str], None], logs: str, out: str) -> dict[str, float]:
    before, started = cpu_seconds(), time.perf_counter()
    work(logs, out)
    return {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - before}


def training(index: str, made: str) -> dict[str, float]:
    """Seconds and CPU seconds of a step, on one core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(index) % len(cores)]})

    from pipeline import training_session
    from pipeline.configs import TrainerSettings
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.training_session import TrainingSession, split_files
    from pipeline.training_strategy import training_strategy
    from pipeline.unfinished_training import UnfinishedTraining

    moments: list[tuple[float, float]] = []

    class Timed(training_session.StepRecorder):
        def after_steps(self, *arguments: Any) -> None:
            super().after_steps(*arguments)
            moments.append((time.perf_counter(), time.process_time()))

    training_session.StepRecorder = Timed
    settings = TrainerSettings(batch_size=BATCH, jit_compile=False, checkpoint_every=0)
    strategy = training_strategy(1)
    dataset = load_dataset_config("simulated")
    session = TrainingSession(settings, dataset, f"{made}/graph", strategy)
    patterns = [f"{made}/Split-train/*", f"{made}/Split-answered/*"]
    answered = session.read_answered(split_files(patterns, "answered"))
    nowhere = UnfinishedTraining(f"{made}/unfinished")
    session.learn_together(split_files(patterns, "train"), answered, nowhere)
    first, *_, last = moments[WARM_UP:]
    steps = len(moments) - WARM_UP - 1
    return {"seconds": (last[0] - first[0]) / steps, "cpu": (last[1] - first[1]) / steps}


def report(measured: dict[str, Any], impressions: int) -> None:
    data, steps = measured["data"], measured["step"]
    print("| | 1 worker, s | 2 workers, s | of these to start | efficiency | of processors' time |")
    print("|---|---:|---:|---:|---:|---:|")
    result: dict[str, Any] = {"impressions": impressions, **measured, "efficiency": {}}
    million = {}
    for stage in STAGES:
        of = {workers: found[stage] for workers, found in data.items()}
        work = {
            workers: {kind: one["all"][kind] - one["start"][kind] for kind in ("seconds", "cpu")}
            for workers, one in of.items()
        }
        shares = efficiency(work)
        result["efficiency"][stage] = shares
        million[stage] = 1e6 * work[1]["cpu"] / impressions
        clock, start = ([of[n][size]["seconds"] for n in (1, 2)] for size in ("all", "start"))
        print(
            f"| {stage} | {clock[0]:.1f} | {clock[1]:.1f} | {start[0]:.1f}, {start[1]:.1f} "
            f"| {shares['seconds']:.2f} | {shares['cpu']:.2f} |"
        )
    shares = efficiency(steps)
    result["efficiency"]["training"] = shares
    million["training"] = 1e6 * steps[1]["cpu"] / (BATCH * CANDIDATES)
    print(
        f"| a training step | {steps[1]['seconds']:.3f} | {steps[2]['seconds']:.3f} | "
        f"| {shares['seconds']:.2f} | {shares['cpu']:.2f} |"
    )
    result["cpu_seconds_a_million_impressions"] = million
    print(json.dumps(result))


def efficiency(of: dict[int, dict[str, float]]) -> dict[str, float]:
    """What one worker takes over twice what two take, and over what two use of the processors."""
    return {
        "seconds": of[1]["seconds"] / (2 * of[2]["seconds"]),
        "cpu": of[1]["cpu"] / of[2]["cpu"],
    }


if __name__ == "__main__":
    main()
