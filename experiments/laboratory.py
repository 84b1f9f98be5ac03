"""Trains and judges runs, one after the other, and compiles a training step once for each kind.

XLA needs some twenty seconds for a training step and a sweep makes hundreds of runs, so a compiled
model is kept for each structure. Before a run it is given the very state of a freshly compiled
model of the run's seed, optimizers included, and then its trade-off weight. Where the weight moves
the tower of ŷ alone, all weights share one training (`experiments.weight_sweep`). What is not
computed is what could not matter: rows of embedding tables that nobody reads
(`experiments.compact_tables`), and answered rows that no step fills.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easq_keras.models import build_method, method_info
from experiments.cells import Cell, CellSpec, CellStore
from experiments.compact_tables import CompactCell
from experiments.judging import UserTable, judge, ranker_scores
from experiments.response_weights import reweighted
from experiments.runs import RANKERS, Result, RunSpec, RunStore, code_version
from experiments.slate_arrays import Arrays
from experiments.weight_sweep import WeightSweep
from pipeline.training_input import LABELS, AnsweredSlates, training_batches
from pipeline.transform import MASK

STEPS_PER_EXECUTION = 16
_SCORED_AT_ONCE = 500
_CURVE_POINTS = 25
# Answered rows of a batch come and go by so many, so that cells share a compiled model.
_ANSWERED_ROWS_STEP = 8


def state_of(model: keras.Model) -> list[keras.Variable]:
    """Every variable of a compiled model, those of its optimizers and metrics included."""
    optimizers = [
        getattr(model, name)
        for name in ("optimizer", "satisfaction_optimizer")
        if hasattr(model, name)
    ]
    variables = [*model.variables, *model.metrics_variables]
    for optimizer in optimizers:
        variables.extend(optimizer.variables)
    return variables


def copy_state(source: keras.Model, target: keras.Model) -> None:
    """Gives a compiled model the state of another one of the same structure."""
    pairs = zip(state_of(source), state_of(target), strict=True)
    for new, old in pairs:
        old.assign(new)


class LastStretch(keras.callbacks.Callback):
    """Keeps what training reports, as means of stretches, of which the last is the result."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._every = max(steps // _CURVE_POINTS, 1)
        self._next = self._every
        self.last: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        steps = int(self.model.optimizer.iterations)
        if steps >= self._next:
            self._next = steps + self._every
            self.last = {name: float(value) for name, value in (logs or {}).items()}
            self.model.reset_metrics()


@dataclass(frozen=True)
class Batches:
    """The batches of a training.

    Attributes:
        dataset: `(features, labels)` of a step.
        steps: how many.
        answered_rows: how many rows of each are of the answered stream.
    """

    dataset: tf.data.Dataset
    steps: int
    answered_rows: int


@dataclass
class _Compiled:
    """A model and a function from features to its scores, `(lanes, batch, slate)`."""

    model: keras.Model
    score: Callable[[dict[str, tf.Tensor]], tf.Tensor]


class Laboratory:
    """Makes runs; keeps compiled models and the batches last used.

    Args:
        cells: where the data come from.
        runs: where results go.
        jit_compile: whether XLA compiles the training steps.
    """

    def __init__(self, cells: CellStore, runs: RunStore, *, jit_compile: bool = True) -> None:
        self._cells, self._runs, self._jit = cells, runs, jit_compile
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}
        self._cell: tuple[CellSpec, CompactCell] | None = None
        self._batches: tuple[Any, Batches] | None = None
        self._offline: tuple[RunSpec, list[list[np.ndarray]]] | None = None

    def make(self, specs: Sequence[RunSpec]) -> None:
        """Trains once and judges each of these runs, which share one training.

        Args:
            specs: the runs; none where another process has made them meanwhile.

        Raises:
            ValueError: training diverged, or the runs do not share one training.
        """
        if not specs:
            return
        first = specs[0]
        if len({spec.trained for spec in specs}) != 1:
            raise ValueError("these runs do not share one training")
        data = self._load(first.cell)
        if first.method in RANKERS:
            for spec in specs:
                self._rank(spec, data.cell)
            return
        weights = [self._weight(spec) for spec in specs]
        started = time.monotonic()
        compiled, history = self._train(first.trained, data, weights)
        trained = time.monotonic() - started
        splits = (data.cell.validation, data.cell.test)
        scores = [self._scores(compiled, slates, weights) for slates, _ in splits]
        for number, spec in enumerate(specs):
            started = time.monotonic()
            tables = [
                judge(known, of[number]) for (_, known), of in zip(splits, scores, strict=True)
            ]
            seconds = {"train": trained / len(specs), "judge": time.monotonic() - started}
            self._save(spec, tables, history, seconds)

    def _load(self, spec: CellSpec) -> CompactCell:
        if self._cell is None or self._cell[0] != spec:
            self._cell = spec, CompactCell.of(self._cells.load(spec))
        return self._cell[1]

    def _rank(self, spec: RunSpec, cell: Cell) -> None:
        tables = []
        for _, known in (cell.validation, cell.test):
            scores = ranker_scores(spec.method, known)
            if scores is None:
                raise ValueError(f"{spec.cell.name} does not know what {spec.method} ranks by")
            tables.append(judge(known, scores))
        self._save(spec, tables, {}, {})

    def _save(
        self,
        spec: RunSpec,
        tables: list[UserTable],
        training: dict[str, float],
        seconds: dict[str, float],
    ) -> None:
        validation, test = tables
        result = Result(
            config=spec.to_dict(),
            validation=validation.means(),
            test=test.means(),
            n_users=test.n_users(),
            training=training,
            seconds={name: round(value, 2) for name, value in seconds.items()},
            code=code_version(),
        )
        self._runs.save(spec, result, test.names, test.values)

    @staticmethod
    def _weight(spec: RunSpec) -> float | None:
        """What to set the trade-off to; None where there is none."""
        setting = method_info(spec.method).trade_off
        if spec.weight is not None or setting is None:
            return spec.weight
        info = method_info(spec.method)
        settings = info.model.settings_class(**info.settings).replace(**dict(spec.settings))
        return float(getattr(settings, setting))

    def _train(
        self, spec: RunSpec, data: CompactCell, weights: Sequence[float | None]
    ) -> tuple[_Compiled, dict[str, float]]:
        """Trains for some weights, and returns what the last stretch reported of all of them."""
        offline = self._learnt_offline(spec, data) if method_info(spec.method).pretrained else None
        batches = self._training_batches(spec, data.cell)
        fresh = self._fresh(spec, data, batches)
        lanes = len(weights) if spec.weight_moves_tower_alone else 1
        kind = (spec.structure, lanes, data.table_sizes, batches.answered_rows)
        compiled = self._compiled.get(kind)
        if compiled is None:
            compiled = self._first_of_its_kind(fresh, data, batches, lanes)
            self._compiled[kind] = compiled
        model = compiled.model
        if model is not fresh:
            copy_state(fresh, model)
        if isinstance(model, WeightSweep):
            model.begin(weights)
        elif weights[0] is not None:
            model.trade_off.assign(weights[0])
        if offline is not None:
            _set_offline(model, offline)
        recorder = LastStretch(batches.steps)
        model.fit(batches.dataset, epochs=1, verbose=0, callbacks=[recorder], shuffle=False)
        report = recorder.last
        return compiled, model.of_trunk(report) if isinstance(model, WeightSweep) else report

    def _learnt_offline(self, spec: RunSpec, data: CompactCell) -> list[list[np.ndarray]]:
        """What a method learns before its training; the same for all weights of its trade-off."""
        key = dataclasses.replace(spec, weight=None)
        if self._offline is None or self._offline[0] != key:
            # Its first stage is EMER, which is compiled already.
            emer = dataclasses.replace(key, method="EMER", settings=())
            base, _ = self._train(emer, data, [None])
            batches = self._training_batches(spec, data.cell)
            model = self._fresh(spec, data, batches)
            model.pretrain(lambda: batches.dataset, base=base.model)
            self._offline = key, [part.get_weights() for part in _offline_parts(model)]
        return self._offline[1]

    def _fresh(self, spec: RunSpec, data: CompactCell, batches: Batches) -> keras.Model:
        """A model of a run's seed, compiled, as the Trainer begins with it."""
        settings = dict(spec.settings)
        model = build_method(spec.method, data.features, **settings)
        keras.utils.set_random_seed(spec.model_seed)
        data.give_rows(build_method(spec.method, data.whole, **settings), model)
        model.compile(**self._compile_options(batches))
        return model

    def _compile_options(self, batches: Batches) -> dict[str, Any]:
        return {
            "answered_rows": batches.answered_rows or None,
            "steps_per_execution": STEPS_PER_EXECUTION,
            "jit_compile": self._jit,
        }

    def _first_of_its_kind(
        self, fresh: keras.Model, data: CompactCell, batches: Batches, lanes: int
    ) -> _Compiled:
        """What is trained for all runs of a structure: the first model itself, or its sweep."""
        if lanes == 1:
            score = _compiled(lambda features: fresh(features, training=False)["score"], self._jit)
            return _Compiled(fresh, lambda features: score(features)[None])
        sweep = WeightSweep.of(
            data.features, fresh.settings, lanes, **self._compile_options(batches)
        )
        return _Compiled(sweep, _compiled(sweep.scores, self._jit))

    def _training_batches(self, spec: RunSpec, cell: Cell) -> Batches:
        info = method_info(spec.method)
        replay = info.replays if spec.replay is None else spec.replay
        rows = spec.answered_per_batch if info.reads_answers else 0
        seed = spec.model_seed if rows else 0
        key = (spec.cell, spec.batch_size, rows, replay, seed, spec.answer_weights)
        if self._batches is None or self._batches[0] != key:
            self._batches = None  # before the next ones need their room
            if spec.answer_weights:
                inverse = spec.answer_weights != "uniform"
                answered = reweighted(cell.answered, cell.train, inverse=inverse)
                cell = dataclasses.replace(cell, answered=answered)
            self._batches = key, made_batches(cell, spec.batch_size, rows, replay, spec.model_seed)
        return self._batches[1]

    def _scores(
        self, compiled: _Compiled, slates: Arrays, weights: Sequence[float | None]
    ) -> list[np.ndarray]:
        """The scores of a trained model at some weights."""
        if len(weights) == 1 or isinstance(compiled.model, WeightSweep):
            return list(self._score(compiled, slates))
        # A blend is linear in its weight: two passes serve all.
        ends = []
        for end in (0.0, 1.0):
            compiled.model.trade_off.assign(end)
            ends.append(self._score(compiled, slates)[0])
        behaviour, sum_of_both = ends
        return [behaviour + weight * (sum_of_both - behaviour) for weight in weights]

    def _score(self, compiled: _Compiled, slates: Arrays) -> np.ndarray:
        """`[lanes, slates, W]`."""
        features = {name: value for name, value in slates.items() if name not in LABELS}
        count = len(next(iter(features.values())))
        scores = []
        for start in range(0, count, _SCORED_AT_ONCE):
            chunk = {n: v[start : start + _SCORED_AT_ONCE] for n, v in features.items()}
            missing = _SCORED_AT_ONCE - len(next(iter(chunk.values())))
            if missing:  # one shape, compiled once
                chunk = {
                    n: np.pad(v, [(0, missing), *[(0, 0)] * (v.ndim - 1)]) for n, v in chunk.items()
                }
            part = compiled.score({n: tf.constant(v) for n, v in chunk.items()}).numpy()
            scores.append(part[:, : _SCORED_AT_ONCE - missing])
        return np.concatenate(scores, axis=1)


def made_batches(
    cell: Cell, batch_size: int, answered_rows: int, replay: bool, seed: int
) -> Batches:
    """The training batches of the pipeline, in memory, without answered rows that no step fills.

    Args:
        cell: the data.
        batch_size: dense slates a step.
        answered_rows: the most answered slates a step.
        replay: whether earlier answers fill them.
        seed: of the replay.
    """
    dense = tf.data.Dataset.from_tensor_slices(cell.train).batch(batch_size)
    answered = AnsweredSlates.from_batches(
        tf.data.Dataset.from_tensor_slices(cell.answered).batch(1024)
    )
    mixed = training_batches(
        dense,
        answered,
        batch_size=batch_size,
        answered_per_batch=answered_rows,
        replay=replay,
        seed=seed,
    )
    # One large tensor a feature: cutting it is far cheaper than mixing anew for each run.
    steps = list(mixed.as_numpy_iterator())
    stacked = tf.nest.map_structure(lambda *parts: np.stack(parts), *steps)
    if answered_rows:
        filled = stacked[0][MASK][:, batch_size:].any(axis=(0, 2))
        # Those of a step that are filled come first.
        needed = -(-max(int(filled.sum()), 1) // _ANSWERED_ROWS_STEP) * _ANSWERED_ROWS_STEP
        answered_rows = min(needed, answered_rows)
        stacked = tf.nest.map_structure(lambda part: part[:, : batch_size + answered_rows], stacked)
    return Batches(tf.data.Dataset.from_tensor_slices(stacked), len(steps), answered_rows)


def _offline_parts(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    return model.embedding.frozen, model.embedding.imputer


def _set_offline(model: keras.Model, weights: list[list[np.ndarray]]) -> None:
    for part, values in zip(_offline_parts(model), weights, strict=True):
        part.set_weights(values)
    model.pretrained.assign(1)


def _compiled(score: Callable[[Any], Any], jit: bool) -> Callable[[Any], tf.Tensor]:
    return tf.function(score, jit_compile=jit)
