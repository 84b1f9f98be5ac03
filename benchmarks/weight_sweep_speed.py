"""Nine weights of EASQ in one training beside nine trainings.

    python benchmarks/weight_sweep_speed.py [--rounds 5]

Both train on the same batches of a simulated cell, compiled by XLA, as `easq experiment` does. The
peer is one training at one weight, of which nine are needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import Ratio, in_turns, ratio, report, step_of_fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write the result there")
    arguments = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from easq_keras.models import EASQ, method_info
    from experiments.cells import QUICK, CellSpec, CellStore
    from experiments.laboratory import STEPS_PER_EXECUTION, made_batches
    from experiments.weight_sweep import WeightSweep
    from pipeline.training_session import feature_specs

    weights = method_info("EASQ").grid
    with tempfile.TemporaryDirectory() as folder:
        cell = CellStore(Path(folder)).load(CellSpec(size=QUICK))
    batches = made_batches(cell, 32, 32, True, 0)
    options = {
        "answered_rows": batches.answered_rows,
        "steps_per_execution": STEPS_PER_EXECUTION,
        "jit_compile": True,
    }
    specs = feature_specs(cell.config)
    single = EASQ(specs)
    single.compile(**options)
    sweep = WeightSweep.of(specs, single.settings, len(weights), **options)
    sweep.begin(weights)

    contenders = {
        name: step_of_fit(model, batches.dataset, batches.steps)
        for name, model in (("single", single), ("sweep", sweep))
    }
    said = in_turns(contenders, arguments.rounds)
    of_one = ratio(said, "sweep", "single")
    ratios = [
        Ratio(f"CPU time, {len(weights)} weights in one training / one weight", of_one),
        Ratio("CPU time, the same / a training for each weight", of_one / len(weights)),
    ]
    report("weight_sweep", ratios, {"cpu_ms_a_step": said, "steps": batches.steps}, arguments.json)


if __name__ == "__main__":
    main()
