"""Trains on two replicas of one process: `python -m tests.pipeline.mirrored_training_run FN_ARGS`.

Two logical processors stand for two GPUs. In a process of its own: their number is fixed once
TensorFlow has started.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import tensorflow as tf

from pipeline import trainer


def main() -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    trainer.needs_processes = lambda workers: False
    devices = ["CPU:0", "CPU:1"]
    trainer.training_strategy = lambda workers: tf.distribute.MirroredStrategy(devices[:workers])
    trainer.run_fn(SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
