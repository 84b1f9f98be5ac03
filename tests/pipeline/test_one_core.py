"""Training where TensorFlow has one thread: a container of one core."""

import json
import subprocess
import sys
from pathlib import Path

from tests.pipeline.conftest import TINY_SLATES
from tests.pipeline.tiny_training import tiny_fn_args

ROOT = Path(__file__).parents[2]
SLATES = 3_000
TRAINING = """
import json
import sys

import tensorflow as tf

tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)

from pipeline.configs import TrainerSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.training_session import TrainingSession, split_files

given = json.load(sys.stdin)
config = DatasetConfig.from_json(given["dataset_config"])
session = TrainingSession(TrainerSettings(**given["trainer"]), config, given["transform"])
answered = session.read_answered(split_files(given["files"], "answered"))
record = session.learn(session.read_slates(split_files(given["files"], "train")), answered)
print("steps", record.steps)
"""


def test_a_training_with_one_thread_comes_to_its_end(
    tmp_path: Path, tiny_dataset, tiny_transform_dir
) -> None:
    slates = [TINY_SLATES[number % 3] for number in range(SLATES)]
    args = tiny_fn_args(tmp_path, tiny_dataset, tiny_transform_dir, slates)
    given = {
        **args.custom_config,
        "transform": tiny_transform_dir,
        "files": args.train_files,
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=ROOT,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["steps 750"], done.stderr[-2000:]
