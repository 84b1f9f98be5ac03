"""Training with the table rows that a cell reads beside training with whole tables.

    python benchmarks/compact_tables_speed.py [--rounds 5]

The method is EMER_s-level, on the same batches of a simulated cell, compiled by XLA, as `easq
experiment` does. The peer has the tables of the pipeline's Trainer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import Ratio, in_turns, ratio, report, step_of_fit

_METHOD = "EMER_s-level"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write the result there")
    arguments = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from easq_keras.layers import FeatureSpec
    from easq_keras.models import build_method
    from experiments.cells import QUICK, Cell, CellSpec, CellStore
    from experiments.compact_tables import CompactCell
    from experiments.laboratory import STEPS_PER_EXECUTION, made_batches

    with tempfile.TemporaryDirectory() as folder:
        whole = CellStore(Path(folder)).load(CellSpec(size=QUICK))
    compact = CompactCell.of(whole)

    def trained(cell: Cell, features: Sequence[FeatureSpec]) -> Callable[[], float]:
        batches = made_batches(cell, 32, 32, False, 0)
        model = build_method(_METHOD, features)
        model.compile(
            answered_rows=batches.answered_rows,
            steps_per_execution=STEPS_PER_EXECUTION,
            jit_compile=True,
        )
        return step_of_fit(model, batches.dataset, batches.steps)

    said = in_turns(
        {
            "compact": trained(compact.cell, compact.features),
            "whole": trained(whole, compact.whole),
        },
        arguments.rounds,
    )
    ratios = [Ratio("CPU time of a step, compact / whole tables", ratio(said, "compact", "whole"))]
    report("compact_tables", ratios, {"cpu_ms_a_step": said}, arguments.json)


if __name__ == "__main__":
    main()
