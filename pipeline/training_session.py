"""A model in training: built, compiled, taught span after span, kept and exported.

The Trainer teaches it one span, the tuner the same span again and again, online training the spans
as they come. The compiled step belongs to the session: however many passes it makes, it compiles
once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.export import scoring_model
from easq_keras.layers import FeatureSpec
from easq_keras.models import EMER
from easq_keras.models.methods import build_method, method_info
from easq_keras.workers import steps_of, sum_over_workers, train_on_workers, worker_of
from pipeline.configs import TrainerSettings
from pipeline.dataset_settings import dataset_replays, dataset_settings
from pipeline.exporting import export_ranker, raw_feature_spec
from pipeline.logs.checked import ConfigError, require
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.pair_coverage import PairCoverage
from pipeline.remote_folders import read_folder, written_folder
from pipeline.training_board import TrainingBoard
from pipeline.training_input import AnsweredSlates, slate_dataset, training_batches
from pipeline.training_record import StepRecorder, TrainingRecord
from pipeline.training_share import Share, filled
from pipeline.unfinished_training import UnfinishedTraining

MEMORY_FILE = "answers.npz"
# Raw features and labels, candidate lists ragged; and what the Transform graph makes of them.
RawAndTransformed = tuple[dict[str, tf.Tensor | tf.RaggedTensor], dict[str, tf.Tensor]]
_READ_AT_ONCE = 1024


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
    """Raises `ConfigError` if the method would refuse `trainer.model` or `trainer.workers`."""
    _require_replicas(settings, settings.workers)
    info = method_info(settings.method)
    try:
        info.model.settings_class(**info.settings).replace(**settings.model_overrides)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "trainer.model", settings.model, f"settings of {settings.method}: {error}"
        ) from error


def _require_replicas(settings: TrainerSettings, replicas: int) -> None:
    """Raises `ConfigError` if a step cannot be shared by so many."""
    require(
        replicas == 1 or not method_info(settings.method).pretrained,
        "trainer.method",
        settings.method,
        f"another method, or 1 worker in place of {replicas}: it is trained in one process",
    )
    for name in ("batch_size", "answered_per_batch"):
        rows = getattr(settings, name)
        expected = f"a multiple of the {replicas} workers that share a step"
        require(rows % replicas == 0, f"trainer.{name}", rows, expected)


def build_model(settings: TrainerSettings, config: DatasetConfig) -> EMER:
    """The untrained model of the settings."""
    chosen = {**dataset_settings(settings.method, config), **settings.model_overrides}
    return build_method(settings.method, feature_specs(config), **chosen)


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
            f"no files of the split '{split}' in {patterns}; expected the splits 'train' and "
            "'answered' in the train_args and 'eval' in the eval_args"
        )
    return files


class TrainingSession:
    """One model, from its first weights to as many spans as there are.

    Args:
        settings: What to train, and how.
        config: The dataset.
        transform_graph_path: The Transform component's output. All spans must use the same.
        strategy: Who shares a step. Defaults to this process alone.

    Attributes:
        model: The compiled model.
        strategy: As given.
        transform_output: The transform graph.

    Raises:
        ConfigError: So many cannot share the step.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        config: DatasetConfig,
        transform_graph_path: str,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        keras.utils.set_random_seed(settings.seed)
        self.settings, self.config = settings, config
        self.strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self.strategy.num_replicas_in_sync
        _require_replicas(settings, self._replicas)
        self._method = method_info(settings.method)
        # Of a replica, as are all rows of a batch.
        self._rows = settings.batch_size // self._replicas
        answered = settings.answered_per_batch if self._method.reads_answers else 0
        self._answered_rows = answered // self._replicas
        self._replays = (
            dataset_replays(settings.method, config) if settings.replay is None else settings.replay
        )
        self.transform_output = tft.TFTransformOutput(transform_graph_path)
        self._transform = self.transform_output.transform_features_layer()
        self._raw_spec = raw_feature_spec(config, labels=True)
        self._memory: AnsweredSlates | None = None
        with self.strategy.scope():
            self.model = build_model(settings, config)
            self.model.compile(
                # Also where nobody answered: batches of another shape would compile anew.
                answered_rows=self._answered_rows or None,
                steps_per_execution=settings.steps_per_execution,
                # XLA compiles nothing that replicas exchange.
                jit_compile=settings.jit_compile and self._replicas == 1,
            )

    @property
    def steps(self) -> int:
        """Training steps made so far, those before a checkpoint included."""
        return steps_of(self.model)

    def parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized slates `[n]` to transformed features and labels."""
        return self.raw_and_transformed(examples)[1]

    def raw_and_transformed(self, examples: tf.Tensor) -> RawAndTransformed:
        """Serialized slates `[n]` as they were logged, candidate lists ragged, and transformed."""
        raw = tf.io.parse_example(examples, self._raw_spec)
        return raw, self._transform(raw)

    def read_slates(self, files: Sequence[str], *, first: int | None = None) -> tf.data.Dataset:
        """Transformed slates of record files, in large batches, in file order.

        Args:
            files: TFRecord files.
            first: Read the first so many slates only.
        """
        records = tf.data.TFRecordDataset(list(files)).take(-1 if first is None else first)
        return slate_dataset(records, self.parse)

    def read_raw(self, files: Sequence[str], *, first: int) -> tf.data.Dataset:
        """The first so many slates of record files, as `raw_and_transformed`, in batches."""
        records = tf.data.TFRecordDataset(list(files)).take(first)
        return records.batch(_READ_AT_ONCE).map(self.raw_and_transformed)

    def read_answered(self, files: Sequence[str]) -> AnsweredSlates:
        """The pair groups of record files of the split `answered`."""
        return AnsweredSlates.from_batches(self.read_slates(files))

    def learn(
        self,
        dense: tf.data.Dataset,
        answered: AnsweredSlates,
        *,
        slates: int | None = None,
        task: str = "training",
        board: TrainingBoard | None = None,
    ) -> TrainingRecord:
        """Teaches one span: one pass, in time order.

        Args:
            dense: The span's transformed slates, in batches of any size.
            answered: Its pair groups, in the order in which answers arrived. What is remembered of
                earlier spans is put before them.
            slates: How many dense slates there are; for the progress alone.
            task: What the progress calls it.
            board: Is given every point of the curves.
        """
        started = time.monotonic()
        answered = self._with_memory(answered)

        def batches() -> tf.data.Dataset:
            return self._mixed(dense, answered, self.steps)

        if self._method.pretrained and self.steps == 0:
            self.model.pretrain(batches)
        coverage = PairCoverage()
        recorder = StepRecorder(
            task, self.settings.batch_size, slates, self.steps, coverage=coverage, board=board
        )
        observed = coverage.observe(batches()).prefetch(tf.data.AUTOTUNE)
        if slates != 0:  # Keras refuses to fit nothing
            self.model.fit(observed, epochs=1, verbose=0, callbacks=[recorder])
        return self._learnt(
            answered, [answered.learnt + coverage.groups], recorder, coverage, started
        )

    def learn_together(
        self,
        files: Sequence[str],
        answered: AnsweredSlates,
        unfinished: UnfinishedTraining,
        *,
        slates: int | None = None,
        task: str = "training",
    ) -> TrainingRecord:
        """`learn` on all replicas of the strategy: each brings its rows of every step.

        Every worker calls this. A pass that was broken off is gone on with.

        Args:
            files: Record files of the span's slates, in time order; a worker reads its share.
            answered: All its pair groups, which are dealt whole.
            unfinished: Keeps checkpoints of the pass.
            slates: How many dense slates there are; for the progress alone.
            task: What the progress calls it.
        """
        started = time.monotonic()
        settings, strategy = self.settings, self.strategy
        worker, workers = worker_of(strategy)
        share, replicas = Share(worker, workers), self._replicas // workers
        answered = self._with_memory(answered)
        dealt = answered.dealt(worker, workers)
        first_step = self.steps
        unfinished.restore(self.model)

        mine = np.arange(workers) == worker
        of_workers = sum_over_workers(strategy, share.count(files) * mine)
        steps = int(np.max(-(-of_workers // (self._rows * replicas))))
        last = first_step + steps
        coverage = PairCoverage()

        def dataset_of(_: tf.distribute.InputContext) -> tf.data.Dataset:
            dense = slate_dataset(share.records(files), self.parse)
            # Another seed for each worker, and none that a user may give.
            seed = settings.seed + (worker << 32)
            mixed = self._mixed(dense, dealt, first_step * replicas, seed=seed)
            observed = coverage.observe(filled(mixed, steps * replicas))
            return observed.prefetch(tf.data.AUTOTUNE)

        recorder = StepRecorder(task, settings.batch_size, slates, first_step)
        recorder.set_model(self.model)

        def after_step(step: int) -> None:
            recorder.after_steps(step - first_step, self.model.get_metrics_result)
            # Not at the last step: whoever went on from there would count no pairs.
            due = settings.checkpoint_every and step % settings.checkpoint_every == 0
            if worker == 0 and due and step < last:
                unfinished.save(self.model)

        if steps:
            train_on_workers(
                self.model,
                strategy,
                dataset_of,
                steps=last,
                first_step=first_step,
                after_step=after_step,
            )
        recorder.on_train_end()
        seen = [coverage.batches, coverage.with_pair, coverage.pairs]
        sums = sum_over_workers(strategy, [*seen, *((dealt.learnt + coverage.groups) * mine)])
        coverage.batches, coverage.with_pair, coverage.pairs, *learnt = map(int, sums)
        return self._learnt(answered, learnt, recorder, coverage, started)

    def _with_memory(self, answered: AnsweredSlates) -> AnsweredSlates:
        return answered if self._memory is None else answered.after(self._memory)

    def _mixed(
        self,
        dense: tf.data.Dataset,
        answered: AnsweredSlates,
        first: int,
        *,
        seed: int | None = None,
    ) -> tf.data.Dataset:
        """Training batches, of which the first has the number `first`."""
        settings = self.settings
        return training_batches(
            dense,
            answered,
            batch_size=self._rows,
            answered_per_batch=self._answered_rows,
            replay=self._replays,
            seed=settings.seed if seed is None else seed,
            first_step=first,
        )

    def _learnt(
        self,
        answered: AnsweredSlates,
        learnt: Sequence[int],
        recorder: StepRecorder,
        coverage: PairCoverage,
        started: float,
    ) -> TrainingRecord:
        """Remembers the answers of a pass and tells of it.

        Args:
            answered: All of them, remembered ones first.
            learnt: By worker, how many groups of its own have been fresh by now.
            recorder: Of the pass.
            coverage: Of the pass.
            started: When it began.
        """
        if not self._answered_rows:
            # A method that reads no answers has no use for any later either.
            learnt = [len(answered.arrival)]
        fresh_before = answered.learnt
        answered = answered.learnt_by(learnt)
        self._memory = answered.remembered(answered.learnt, self.settings.replay_memory)
        return TrainingRecord(
            steps=recorder.steps,
            seconds=round(time.monotonic() - started, 2),
            pair_coverage=coverage.to_dict(),
            answers={
                "fresh_groups": answered.learnt - fresh_before if self._answered_rows else 0,
                "waiting_groups": len(answered.arrival) - answered.learnt,
                "remembered": self._memory.learnt,
            },
            history=recorder.history,
            alarms=list(recorder.alarms.messages.values()),
            diverged=recorder.diverged,
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
