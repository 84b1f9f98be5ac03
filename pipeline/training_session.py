"""A model in training: built, compiled, taught span after span, kept and exported.

The Trainer teaches it one span, the tuner the same span again and again, online training the spans
as they come. The compiled step belongs to the session: however many passes it makes, it compiles
once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_transform as tft

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.export import scoring_model
from easq_keras.layers import FeatureSpec
from easq_keras.models import EMER
from easq_keras.models.methods import build_method, method_info
from pipeline.configs import TrainerSettings
from pipeline.exporting import export_ranker, raw_feature_spec
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.pair_coverage import PairCoverage
from pipeline.remote_folders import read_folder, written_folder
from pipeline.training_input import AnsweredSlates, slate_dataset, training_batches
from pipeline.training_record import StepRecorder, TrainingRecord

MEMORY_FILE = "answers.npz"
_ANSWERED_AT_ONCE = 1024


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
    """Raises `ConfigError` if the method would refuse `trainer.model`."""
    info = method_info(settings.method)
    try:
        info.model.settings_class(**info.settings).replace(**settings.model_overrides)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "trainer.model", settings.model, f"settings of {settings.method}: {error}"
        ) from error


def build_model(settings: TrainerSettings, config: DatasetConfig) -> EMER:
    """The untrained model of the settings."""
    return build_method(settings.method, feature_specs(config), **settings.model_overrides)


def split_files(patterns: Sequence[str], split: str) -> list[str]:
    """The record files of one split, in the order in which ExampleGen numbered them.

    Args:
        patterns: Of all splits, as TFX hands them over.
        split: Its name.

    Raises:
        ValueError: No pattern is of the split.
    """
    chosen = [pattern for pattern in patterns if f"Split-{split}/" in pattern]
    files = sorted(path for pattern in chosen for path in tf.io.gfile.glob(pattern))
    if not chosen:
        raise ValueError(
            f"train_files: no files of the split '{split}' in {patterns}; expected the splits "
            "'train' and 'answered' in the train_args"
        )
    return files


class TrainingSession:
    """One model, from its first weights to as many spans as there are.

    Args:
        settings: What to train, and how.
        config: The dataset.
        transform_graph_path: The Transform component's output. All spans must use the same.

    Attributes:
        model: The compiled model.
        transform_output: The transform graph.
    """

    def __init__(
        self, settings: TrainerSettings, config: DatasetConfig, transform_graph_path: str
    ) -> None:
        keras.utils.set_random_seed(settings.seed)
        self.settings, self.config = settings, config
        self._method = method_info(settings.method)
        self._answered_rows = settings.answered_per_batch if self._method.reads_answers else 0
        self.transform_output = tft.TFTransformOutput(transform_graph_path)
        self._transform = self.transform_output.transform_features_layer()
        self._raw_spec = raw_feature_spec(config, labels=True)
        self._memory: AnsweredSlates | None = None
        self.model = build_model(settings, config)
        self.model.compile(
            # Also where nobody answered: batches of another shape would compile anew.
            answered_rows=self._answered_rows or None,
            steps_per_execution=settings.steps_per_execution,
            jit_compile=settings.jit_compile,
        )

    @property
    def steps(self) -> int:
        """Training steps made so far, those before a checkpoint included."""
        return int(self.model.optimizer.iterations)

    def parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized slates `[n]` to transformed features and labels."""
        return self._transform(tf.io.parse_example(examples, self._raw_spec))

    def read_slates(
        self, files: Sequence[str], *, first: int | None = None, batch_size: int | None = None
    ) -> tf.data.Dataset:
        """Transformed slates of record files, in batches, in file order.

        Args:
            files: TFRecord files.
            first: Read the first so many slates only.
            batch_size: Slates a batch. Defaults to that of training.
        """
        return slate_dataset(files, self.parse, batch_size or self.settings.batch_size, first=first)

    def read_answered(self, files: Sequence[str]) -> AnsweredSlates:
        """The pair groups of record files of the split `answered`."""
        return AnsweredSlates.from_batches(self.read_slates(files, batch_size=_ANSWERED_AT_ONCE))

    def learn(
        self,
        dense: tf.data.Dataset,
        answered: AnsweredSlates,
        *,
        slates: int | None = None,
        task: str = "training",
    ) -> TrainingRecord:
        """Teaches one span: one pass, in time order.

        Args:
            dense: The span's transformed slates, batched by `settings.batch_size`.
            answered: Its pair groups, in the order in which answers arrived. What is remembered of
                earlier spans is put before them.
            slates: How many dense slates there are; for the progress alone.
            task: What the progress calls it.
        """
        started = time.monotonic()
        settings = self.settings
        replays = self._method.replays if settings.replay is None else settings.replay
        if self._memory is not None:
            answered = answered.after(self._memory)

        def batches() -> tf.data.Dataset:
            return training_batches(
                dense,
                answered,
                batch_size=settings.batch_size,
                answered_per_batch=self._answered_rows,
                replay=replays,
                seed=settings.seed,
                first_step=self.steps,
            )

        if self._method.pretrained and self.steps == 0:
            self.model.pretrain(batches)
        recorder = StepRecorder(task, settings.batch_size, slates, self.steps)
        coverage = PairCoverage()
        observed = coverage.observe(batches()).prefetch(tf.data.AUTOTUNE)
        if slates != 0:  # Keras refuses to fit nothing
            self.model.fit(observed, epochs=1, verbose=0, callbacks=[recorder])
        # A method that reads no answers has no use for any later either.
        learnt = answered.learnt + coverage.groups if self._answered_rows else len(answered.arrival)
        self._memory = answered.remembered(learnt, settings.replay_memory)
        return TrainingRecord(
            steps=recorder.steps,
            seconds=round(time.monotonic() - started, 2),
            pair_coverage=coverage.to_dict(),
            answers={
                "fresh_groups": coverage.groups,
                "waiting_groups": len(answered.arrival) - learnt,
                "remembered": self._memory.learnt,
            },
            history=recorder.history,
        )

    def save(self, folder: str) -> None:
        """Writes all that training needs to go on from here: a checkpoint."""
        with written_folder(folder) as place:
            save_checkpoint(self.model, place)
            if self._memory is not None:
                self._memory.save(place / MEMORY_FILE)

    def restore(self, folder: str) -> None:
        """Goes on from a checkpoint of a session with the same method, features and shapes.

        Raises:
            FileNotFoundError: There is none in the folder.
            ValueError: It belongs to another model; the message names the first difference.
        """
        with read_folder(folder) as place:
            load_checkpoint(self.model, place)
            memory = place / MEMORY_FILE
            self._memory = AnsweredSlates.load(memory) if memory.exists() else None

    def export(self, folder: str) -> None:
        """Writes the SavedModel that ranks by ŷ alone; see `pipeline.exporting`."""
        export_ranker(scoring_model(self.model), self.transform_output, self.config, folder)
