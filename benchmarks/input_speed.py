"""The Trainer's input: batches a second, and how long a training step waits for them.

    python benchmarks/input_speed.py [--impressions 400000] [--rounds 3]

Slates of the simulator as ExampleGen wrote them, read, parsed, put through the Transform graph and
mixed with answers, in the Trainer's batches. Beside it what a TFX user has by default, the dataset
of TFXIO with the Transform layer mapped over it, which mixes nothing; and, as the upper bound, the
same batches out of memory. Waiting is the share of an epoch in which the step has no batch, the
handing over included, which batches out of memory take too. Where all cores are busy with the step,
input that is made in time still slows it: that is what an epoch of `fit` takes longer with the real
input than with the batches out of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import (
    Ratio,
    cpu_seconds,
    in_fresh_process,
    in_turns,
    ratio,
    report,
    simulated_logs,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write the result there")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "ROUNDS"), help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        folder, rounds = arguments.child
        print(json.dumps(measure(Path(folder), int(rounds))))
        return
    with tempfile.TemporaryDirectory() as folder:
        simulated_logs(arguments.impressions, f"{folder}/logs")
        figures = in_fresh_process(__file__, folder, str(arguments.rounds))
    seconds, cpu = figures["seconds"], figures["cpu_seconds"]
    waited = {
        name: statistics.median(found) / statistics.median(seconds[name])
        for name, found in figures["seconds_waited"].items()
    }
    ratios = [
        Ratio("batches a second, Trainer's input / TFXIO", ratio(seconds, "tfxio", "ours")),
        Ratio("batches a CPU second, Trainer's input / TFXIO", ratio(cpu, "tfxio", "ours")),
        Ratio("batches a second, Trainer's input / memory", ratio(seconds, "memory", "ours")),
        Ratio(
            "time in which the training step waits for its batch",
            waited["steps"],
            0.05,
            at_most=True,
        ),
        Ratio("the same, batches from memory", waited["steps from memory"]),
        Ratio(
            "time an epoch is longer than from memory", ratio(seconds, "fit", "fit from memory") - 1
        ),
    ]
    report("input", ratios, figures, arguments.json)


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds and CPU seconds of a pass over all batches, by contender and round."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tfx_bsl.public import tfxio

    from pipeline.configs import TrainerSettings
    from pipeline.example_gen.generate import generate_examples
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.slate_schema import slate_schema
    from pipeline.training_input import training_batches
    from pipeline.training_session import TrainingSession
    from pipeline.transform import preprocessing_fn

    dataset, settings = load_dataset_config("simulated"), TrainerSettings()
    generate_examples(dataset, str(folder / "logs"), str(folder / "made"), beam.Pipeline)
    schema, custom = slate_schema(dataset), {"dataset_config": dataset.to_json()}
    source = tfxio.TFExampleRecord(str(folder / "made/Split-train/*"), schema=schema)
    with beam.Pipeline() as pipeline, tft_beam.Context(str(folder / "tmp")):
        data = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        graph = data | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, custom))
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))

    session = TrainingSession(settings, dataset, str(folder / "graph"))
    files = {
        split: sorted(map(str, folder.glob(f"made/Split-{split}/*")))
        for split in ("train", "answered")
    }
    answered = session.read_answered(files["answered"])

    def ours() -> tf.data.Dataset:
        return training_batches(
            session.read_slates(files["train"]),
            answered,
            batch_size=settings.batch_size,
            answered_per_batch=settings.answered_per_batch,
            replay=True,
            seed=0,
        ).prefetch(tf.data.AUTOTUNE)

    layer = tft.TFTransformOutput(str(folder / "graph")).transform_features_layer()

    def default() -> tf.data.Dataset:
        options = tfxio.TensorFlowDatasetOptions(settings.batch_size, num_epochs=1)
        return source.TensorFlowDataset(options).map(layer)

    cached = ours().cache()
    steps = sum(1 for _ in cached)

    cpu: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            started, used = time.perf_counter(), cpu_seconds()
            work()
            cpu.setdefault(name, []).append(cpu_seconds() - used)
            return time.perf_counter() - started

        return run

    def passing(batches: Callable[[], tf.data.Dataset]) -> Callable[[], None]:
        def work() -> None:
            for _ in batches():
                pass

        return work

    def fitting(batches: Callable[[], tf.data.Dataset]) -> Callable[[], None]:
        return lambda: session.model.fit(batches(), epochs=1, verbose=0)

    step = tf.function(session.model.train_step, jit_compile=True)

    @tf.function
    def waits(batches: tf.data.Iterator, steps: int) -> tf.Tensor:
        """Trains and returns for how many seconds each step waited for its batch."""
        waited = tf.TensorArray(tf.float64, steps)
        asked = tf.timestamp()
        for number in tf.range(steps):
            with tf.control_dependencies([asked]):
                batch = next(batches)
            with tf.control_dependencies(tf.nest.flatten(batch)):
                waited = waited.write(number, tf.timestamp() - asked)
                losses = step(batch)
            with tf.control_dependencies(tf.nest.flatten(losses)):
                asked = tf.timestamp()
        return waited.stack()

    waited: dict[str, list[float]] = {}

    def stepping(name: str, batches: Callable[[], tf.data.Dataset]) -> Callable[[], float]:
        def run() -> None:
            # The first batch comes when the pipeline has started, once a training.
            of_steps = waits(iter(batches()), tf.constant(steps)).numpy()[1:]
            waited.setdefault(name, []).append(float(of_steps.sum()))

        return timed(name, run)

    contenders = {
        "ours": timed("ours", passing(ours)),
        "tfxio": timed("tfxio", passing(default)),
        "memory": timed("memory", passing(lambda: cached)),
        "fit": timed("fit", fitting(ours)),
        "fit from memory": timed("fit from memory", fitting(lambda: cached)),
        "steps": stepping("steps", ours),
        "steps from memory": stepping("steps from memory", lambda: cached),
    }
    for run in contenders.values():  # trace, compile, fill the cache
        run()
    cpu.clear()
    waited.clear()
    seconds = in_turns(contenders, rounds)
    return {
        "slates": sum(1 for _ in tf.data.TFRecordDataset(files["train"])),
        "batches": steps,
        "batch_size": settings.batch_size,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "seconds_waited": waited,
    }


if __name__ == "__main__":
    main()
