"""Trainer: one pass of a method over the train split, in time order; TFX Trainer's entry point is
`run_fn`.

The Transform graph is applied in the input pipeline, so the examples are neither transformed into
files (gzip would be the slowest part of the run) nor transformed by another piece of code than at
serving.

Beside the served model, the Model artifact holds a checkpoint of the training state. Given another
Model artifact as `base_model`, the Trainer goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf

from pipeline.configs import TrainerSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.training_record import TrainingRecord
from pipeline.training_session import TrainingSession, split_files

TRAINING_RECORD = "training.json"
CHECKPOINT = "checkpoint"


def checkpoint_beside(serving_model_dir: str) -> str:
    """The checkpoint's folder in the Model artifact of a served model."""
    return os.path.join(os.path.dirname(serving_model_dir), CHECKPOINT)


def run_fn(fn_args: Any) -> None:
    """Trains, exports the served model, and leaves a training record for the report.

    Args:
        fn_args: TFX's `FnArgs`, with `custom_config` = `{"dataset_config": JSON, "trainer":
            mapping}` and the splits `train` and `answered` among the train files. The values of
            `hyperparameters`, if any, are settings of the model and hold against `trainer`'s.
    """
    config = DatasetConfig.from_json(fn_args.custom_config["dataset_config"])
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    if fn_args.hyperparameters:
        settings = settings.with_model(fn_args.hyperparameters["values"])
    dense_files = split_files(fn_args.train_files, "train")
    answered_files = split_files(fn_args.train_files, "answered")

    session = TrainingSession(settings, config, fn_args.transform_graph_path)
    if fn_args.base_model:
        session.restore(checkpoint_beside(fn_args.base_model))
    record = session.learn(
        session.read_slates(dense_files),
        session.read_answered(answered_files),
        slates=train_slates(dense_files),
    )
    write_record(fn_args.model_run_dir, session, record)
    session.export(fn_args.serving_model_dir)
    session.save(checkpoint_beside(fn_args.serving_model_dir))


def train_slates(dense_files: list[str]) -> int | None:
    """Slates of the train split, from ExampleGen's counts beside the splits; `None` without
    them.
    """
    examples_dir = os.path.dirname(os.path.dirname(dense_files[0]))
    path = os.path.join(examples_dir, "counts.json")
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return int(json.load(file)["slates"]["train"])


def write_record(directory: str, session: TrainingSession, record: TrainingRecord) -> None:
    """Writes what the report tells of training."""
    model = session.model
    weight = model.settings.trade_off_setting
    document = {
        "method": session.settings.method,
        "trade_off": None if weight is None else {weight: float(model.trade_off)},
        "settings": model.settings.to_dict(),
        "parameters": int(model.count_params()),
        **dataclasses.asdict(record),
    }
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, TRAINING_RECORD), "w") as file:
        file.write(json.dumps(document, indent=1))
