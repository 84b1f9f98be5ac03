"""Training where TensorFlow has one thread: a container of one core."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAINING = """
import numpy as np
import tensorflow as tf

from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ
from pipeline.pair_coverage import PairCoverage
from tests.pipeline.test_training_input import answered_slates, dense_slates
from pipeline.training_input import training_batches

tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
model = EASQ([FeatureSpec("item", "id", num_buckets=200, dim=4)], units=8, num_heads=2)
model.compile(answered_rows=2, steps_per_execution=16)
coverage = PairCoverage()
batches = training_batches(
    dense_slates(list(range(10, 4010, 10)), 2),
    answered_slates([(15, [101]), (45, [102])]),
    batch_size=2, answered_per_batch=2, replay=True, seed=0,
)
batches = batches.map(lambda slates, labels: ({**slates, "item": slates["mask"]}, labels))
model.fit(coverage.observe(batches).prefetch(2), epochs=1, verbose=0)
print("batches", coverage.batches)
"""


def test_a_training_with_one_thread_comes_to_its_end():
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["batches 200"], done.stderr[-2000:]
