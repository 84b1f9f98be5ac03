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

from easq_keras.alarms import TrainingDivergedError
from easq_keras.workers import sum_over_workers, worker_of
from pipeline.alignment_examples import SLATES_FILE, alignment_examples
from pipeline.configs import TrainerSettings
from pipeline.embedding_projector import write_projector
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.plain_data import plain
from pipeline.record_files import require_whole
from pipeline.training_board import TrainingBoard
from pipeline.training_processes import train_in_processes
from pipeline.training_record import TrainingRecord
from pipeline.training_session import TrainingSession, split_files
from pipeline.training_strategy import needs_processes, training_strategy
from pipeline.unfinished_training import UnfinishedTraining

TRAINING_RECORD = "training.json"
CHECKPOINT = "checkpoint"
_UNFINISHED = "unfinished"
# Slates of the train split that name the rows of the embedding tables.
_NAMING_SLATES = 4096
# Slates of the eval split among which those with an answer are ranked before and after alignment.
_EXAMPLE_SLATES = 16384


def checkpoint_beside(serving_model_dir: str) -> str:
    """The checkpoint's folder in the Model artifact of a served model."""
    return os.path.join(os.path.dirname(serving_model_dir), CHECKPOINT)


def run_fn(fn_args: Any) -> None:
    """Trains, exports the served model, and leaves in the model run what the report and
    TensorBoard show.

    Args:
        fn_args: TFX's `FnArgs`, with `custom_config` = `{"dataset_config": JSON, "trainer":
            mapping}` and the splits `train` and `answered` among the train files, `eval` among the
            eval files. The values of `hyperparameters`, if any, are settings of the model and hold
            against `trainer`'s.
    """
    config = DatasetConfig.from_json(fn_args.custom_config["dataset_config"])
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    if fn_args.hyperparameters:
        settings = settings.with_model(fn_args.hyperparameters["values"])
    if needs_processes(settings.workers):
        train_in_processes(fn_args, settings)
        return
    strategy = training_strategy(settings.workers)
    dense_files = split_files(fn_args.train_files, "train")
    answered_files = split_files(fn_args.train_files, "answered")

    require_whole(_examples_folder(fn_args.train_files))
    session = TrainingSession(settings, config, fn_args.transform_graph_path, strategy)
    if fn_args.base_model:
        session.restore(checkpoint_beside(fn_args.base_model))
    answered = session.read_answered(answered_files)
    slates = train_slates(dense_files)
    checkpoint = checkpoint_beside(fn_args.serving_model_dir)
    if strategy.num_replicas_in_sync > 1:
        unfinished = UnfinishedTraining(os.path.join(fn_args.model_run_dir, _UNFINISHED))
        record = session.learn_together(dense_files, answered, unfinished, slates=slates)
        if worker_of(strategy)[0] == 0:
            session.save(checkpoint)
            # What is shared can be neither exported nor looked into.
            alone = TrainingSession(settings, config, fn_args.transform_graph_path)
            alone.restore(checkpoint)
            _finish(fn_args, alone, record)
            unfinished.remove()
        sum_over_workers(strategy, 0.0)  # no worker ends before there is a model
        return

    dense = session.read_slates(dense_files)
    probe = next(iter(session.read_slates(dense_files, first=settings.batch_size)), None)
    # What TensorBoard shows lies beside the record, where TFX's users look for it.
    board = None
    if probe is not None:
        board = TrainingBoard(fn_args.model_run_dir, session.model, probe)
    record = session.learn(dense, answered, slates=slates, board=board)
    if board is not None:
        board.close()
    _finish(fn_args, session, record)
    session.save(checkpoint)


def _finish(fn_args: Any, session: TrainingSession, record: TrainingRecord) -> None:
    """Writes all that a trained model leaves, but its checkpoint; nothing of one that diverged."""
    if record.diverged:
        raise TrainingDivergedError(record.diverged)
    run_dir, config = fn_args.model_run_dir, session.config
    write_record(run_dir, session, record)
    sample = session.read_raw(split_files(fn_args.train_files, "train"), first=_NAMING_SLATES)
    write_projector(run_dir, session.model, config, sample)
    eval_files = split_files(fn_args.eval_files, "eval")
    examples = alignment_examples(
        session.model, config, session.read_raw(eval_files, first=_EXAMPLE_SLATES)
    )
    _write_json(run_dir, SLATES_FILE, examples)
    session.export(fn_args.serving_model_dir)


def train_slates(dense_files: list[str]) -> int | None:
    """Slates of the train split, from ExampleGen's counts beside the splits; `None` without
    them.
    """
    path = os.path.join(_examples_folder(dense_files), "counts.json")
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return int(json.load(file)["slates"]["train"])


def _examples_folder(files: list[str]) -> str:
    """The folder of the splits, of files or of patterns of them."""
    return os.path.dirname(os.path.dirname(files[0]))


def write_record(directory: str, session: TrainingSession, record: TrainingRecord) -> None:
    """Writes what the report tells of training."""
    model = session.model
    weight = model.settings.trade_off_setting
    document = {
        "method": session.settings.method,
        "trainer": dataclasses.asdict(session.settings),
        "trade_off": None if weight is None else {weight: float(model.trade_off)},
        "settings": model.settings.to_dict(),
        "parameters": int(model.count_params()),
        **dataclasses.asdict(record),
    }
    _write_json(directory, TRAINING_RECORD, document)


def _write_json(directory: str, name: str, document: dict[str, Any]) -> None:
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, name), "w") as file:
        file.write(json.dumps(plain(document), indent=1, allow_nan=False))
