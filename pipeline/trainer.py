"""Trainer: one pass of EASQ over the train split, in time order; TFX Trainer's entry point is
`run_fn`.

The Transform graph is applied in the input pipeline, so the examples are neither transformed into
files (gzip would be the slowest part of the run) nor transformed by another piece of code than at
serving.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from easq_keras.export import scoring_model
from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ, EASQSettings
from pipeline.configs import TrainerSettings
from pipeline.exporting import export_ranker, raw_feature_spec
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.pair_coverage import PairCoverage
from pipeline.progress import ProgressReporter
from pipeline.training_input import AnsweredSlates, slate_dataset, training_batches

TRAINING_RECORD = "training.json"
_HISTORY_POINTS = 200


def feature_specs(config: DatasetConfig) -> list[FeatureSpec]:
    """The model's inputs: what `pipeline.transform` makes of the dataset's features."""
    specs = []
    for feature in config.features:
        level = "candidate" if feature.level == "candidate" else "user"
        specs.append(
            FeatureSpec(
                feature.name,
                kind="bucket" if feature.numeric else feature.kind,
                num_buckets=feature.buckets,
                dim=feature.embedding,
                level=level,
            )
        )
        if feature.numeric:
            parts = ("z", "rank") if feature.rank else ("z",)
            specs.extend(
                FeatureSpec(f"{feature.name}_{part}", kind="numeric", level=level) for part in parts
            )
    return specs


def check_model_settings(settings: TrainerSettings) -> None:
    """Raises `ConfigError` if the model would refuse `trainer.model`."""
    try:
        EASQSettings.preset(settings.preset).replace(**settings.model_overrides)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "trainer.model", settings.model, f"settings of EASQSettings: {error}"
        ) from error


def build_model(settings: TrainerSettings, config: DatasetConfig) -> EASQ:
    """The untrained model of the settings."""
    return EASQ.from_preset(
        settings.preset, features=feature_specs(config), **settings.model_overrides
    )


class TrainingRecord(keras.callbacks.Callback):
    """Keeps the training curves at evenly spaced steps and reports progress."""

    def __init__(self, batch_size: int, total_slates: int | None) -> None:
        super().__init__()
        self._batch_size, self._total = batch_size, total_slates
        self._every = max((total_slates or 0) // batch_size // _HISTORY_POINTS, 1)
        self._next = 0
        self._progress = ProgressReporter("training", "slates", total_slates)
        self.history: dict[str, list[float]] = {"step": []}
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Not `batch`: it counts whole executions, of which the last may be cut short.
        self.steps = int(self.model.optimizer.iterations)
        self._progress.update(self._slates())
        if self.steps < self._next:
            return
        self._next = self.steps + self._every
        self.history["step"].append(self.steps)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        # Each point is the mean since the one before it, not since the start.
        self.model.reset_metrics()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._progress.update(self._slates(), finished=True)

    def _slates(self) -> int:
        # The last batch is filled up with empty slates.
        trained = self.steps * self._batch_size
        return trained if self._total is None else min(trained, self._total)


def run_fn(fn_args: Any) -> None:
    """Trains, exports the served model, and leaves a training record for the report.

    Args:
        fn_args: TFX's `FnArgs`, with `custom_config` = `{"dataset_config": JSON, "trainer":
            mapping}` and the splits `train` and `answered` among the train files.
    """
    started = time.monotonic()
    config = DatasetConfig.from_json(fn_args.custom_config["dataset_config"])
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    dense_files = _split_files(fn_args.train_files, "train")
    answered_files = _split_files(fn_args.train_files, "answered")

    keras.utils.set_random_seed(settings.seed)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    layer = transform_output.transform_features_layer()
    spec = raw_feature_spec(config, labels=True)

    def parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return layer(tf.io.parse_example(examples, spec))

    answered = AnsweredSlates.from_batches(slate_dataset(answered_files, parse, 1024))
    model = build_model(settings, config)
    batches = training_batches(
        slate_dataset(dense_files, parse, settings.batch_size),
        answered,
        batch_size=settings.batch_size,
        answered_per_batch=settings.answered_per_batch,
        replay=settings.replays,
        seed=settings.seed,
    )
    mixed = answered is not None and settings.answered_per_batch > 0
    model.compile(
        answered_rows=settings.answered_per_batch if mixed else None,
        steps_per_execution=settings.steps_per_execution,
        jit_compile=settings.jit_compile,
    )
    record = TrainingRecord(settings.batch_size, _train_slates(dense_files))
    coverage = PairCoverage()
    batches = coverage.observe(batches).prefetch(tf.data.AUTOTUNE)
    model.fit(batches, epochs=1, verbose=0, callbacks=[record])
    _write_record(fn_args.model_run_dir, model, record, coverage, time.monotonic() - started)
    export_ranker(scoring_model(model), transform_output, config, fn_args.serving_model_dir)


def _split_files(patterns: list[str], split: str) -> list[str]:
    """The record files of one split, in the order in which ExampleGen numbered them."""
    chosen = [pattern for pattern in patterns if f"Split-{split}/" in pattern]
    files = sorted(path for pattern in chosen for path in tf.io.gfile.glob(pattern))
    if not chosen:
        raise ValueError(
            f"train_files: no files of the split '{split}' in {patterns}; expected the splits "
            "'train' and 'answered' in the Trainer's train_args"
        )
    return files


def _train_slates(files: list[str]) -> int | None:
    """Slates of the train split, from ExampleGen's counts beside the splits; `None` without
    them.
    """
    examples_dir = os.path.dirname(os.path.dirname(files[0]))
    path = os.path.join(examples_dir, "counts.json")
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return int(json.load(file)["slates"]["train"])


def _write_record(
    directory: str, model: EASQ, record: TrainingRecord, coverage: PairCoverage, seconds: float
) -> None:
    document = {
        "settings": model.settings.to_dict(),
        "parameters": int(model.count_params()),
        "steps": record.steps,
        "seconds": round(seconds, 2),
        "pair_coverage": coverage.to_dict(),
        "history": record.history,
    }
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, TRAINING_RECORD), "w") as file:
        file.write(json.dumps(document, indent=1))
