"""The metrics of `user_metrics` as one TFMA metric: all rankers, one pass, any split of the work.

One example is one slate. What is accumulated are flat arrays (`slates.Kept`): a few numbers a
slate, and the candidates of answered slates. It is merged by appending and sorted at the end, so
the result does not depend on how the runner bundles the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types

from pipeline.evaluation.slate_extractor import SLATE, SlateRecord
from pipeline.evaluation.slates import Kept, Slates, merge, nothing_kept, reduce_slates
from pipeline.evaluation.user_metrics import evaluate, ranker_names

# Name of the value that holds the draws, see `pipeline.evaluation.draws`.
DRAWS = "draws"
# Slates are reduced so many at a time: enough that array operations pay, few enough to stay small.
_CHUNK = 1024


class SlateMetrics(tfma.metrics.Metric):
    """All metrics of the evaluation; their names are those of `user_metrics.evaluate`.

    Args:
        simulated: Whether the examples hold the true satisfaction, which adds the `true_…` metrics
            and the oracle ranker.
        seed: Of the bootstrap.
        name: TFMA's name of the group of metrics.
    """

    def __init__(self, simulated: bool, seed: int = 0, name: str = "slate_metrics") -> None:
        super().__init__(_computations, simulated=simulated, seed=seed, name=name)


def _computations(
    simulated: bool, seed: int, name: str, model_names: list[str] | None = None
) -> list[metric_types.MetricComputation]:
    del name
    return [
        metric_types.MetricComputation(
            keys=[],  # They come with the result.
            preprocessors=[ScoreSlates(model_name, simulated)],
            combiner=CombineSlates(model_name, simulated, seed),
        )
        for model_name in model_names or [""]
    ]


Scored = tuple[SlateRecord, NDArray[np.float64]]


class ScoreSlates(metric_types.Preprocessor):
    """Extracts of one example to its slate record and the scores of all rankers `[rankers, n]`."""

    def __init__(self, model_name: str, simulated: bool) -> None:
        super().__init__(name=f"score_slates_{model_name}")
        self._model_name = model_name
        self._simulated = simulated

    def process(self, extracts: dict[str, Any]) -> Iterator[Scored]:
        record: SlateRecord = extracts[tfma.FEATURES_KEY][SLATE][0]
        predictions = extracts[tfma.PREDICTIONS_KEY]
        if self._model_name:
            predictions = predictions[self._model_name]
        n = len(record.answer)
        # The model's scores are padded to its slate width; candidates come first.
        scores = np.asarray(predictions, dtype=np.float64).reshape(-1)[:n]
        model = f"the {self._model_name or 'evaluated'} model"
        if len(scores) < n:
            raise ValueError(
                f"request {record.request_id!r} has {n} candidates, {model} scored {len(scores)}; "
                "its slate width must be at least slate.max_candidates of the dataset config"
            )
        if not np.isfinite(scores).all():
            place = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(
                f"{model} gave {scores[place]} for candidate {place} of request "
                f"{record.request_id!r}; a score must be a finite number. Training has diverged: "
                "look at the losses, lower trainer.model.learning_rate"
            )
        yield record, ranker_scores(record, scores, simulated=self._simulated)


def ranker_scores(
    record: SlateRecord, scores: NDArray[np.float64], *, simulated: bool
) -> NDArray[np.float64]:
    """The scores of all rankers of `ranker_names`, `[rankers, n]`; `scores` are the model's."""
    rankers = [scores, record.popularity, record.random]
    return np.stack([*rankers, record.true_satisfaction] if simulated else rankers)


class CombineSlates(beam.CombineFn):
    """Scored slates to metrics; the accumulator is `(kept parts, slates not yet reduced)`."""

    def __init__(self, model_name: str, simulated: bool, seed: int) -> None:
        self._model_name = model_name
        self._simulated = simulated
        self._seed = seed

    def create_accumulator(self) -> tuple[list[Kept], list[Scored]]:
        return [], []

    def add_input(
        self, accumulator: tuple[list[Kept], list[Scored]], element: Scored
    ) -> tuple[list[Kept], list[Scored]]:
        accumulator[1].append(element)
        return self.compact(accumulator) if len(accumulator[1]) >= _CHUNK else accumulator

    def merge_accumulators(self, accumulators: Any) -> tuple[list[Kept], list[Scored]]:
        kept: list[Kept] = []
        waiting: list[Scored] = []
        for parts, scored in accumulators:
            kept += parts
            waiting += scored
        return kept, waiting

    def compact(
        self, accumulator: tuple[list[Kept], list[Scored]]
    ) -> tuple[list[Kept], list[Scored]]:
        kept, waiting = accumulator
        if waiting:
            kept = [*kept, reduce_slates(joined_slates(waiting))]
        return ([merge(kept)] if len(kept) > 1 else kept), []

    def extract_output(
        self, accumulator: tuple[list[Kept], list[Scored]]
    ) -> dict[metric_types.MetricKey, float | bytes]:
        kept, _ = self.compact(accumulator)
        rankers = ranker_names(simulated=self._simulated)
        evaluated = evaluate(
            kept[0] if kept else nothing_kept(len(rankers)),
            simulated=self._simulated,
            seed=self._seed,
        )
        values = {**evaluated.values, DRAWS: evaluated.draws.to_bytes()}
        # Thresholds are looked up without a weighting, which is how TFMA keys them.
        return {
            metric_types.MetricKey(name, model_name=self._model_name, example_weighted=None): value
            for name, value in values.items()
        }


def joined_slates(scored: list[Scored]) -> Slates:
    """Lays the candidates of some scored slates, at least one, one after the other."""
    records = [record for record, _ in scored]
    return Slates(
        user=np.array([record.user for record in records], dtype=np.uint64),
        request=np.array([record.request for record in records], dtype=np.uint64),
        size=np.array([len(record.answer) for record in records], dtype=np.int64),
        scores=np.concatenate([scores for _, scores in scored], axis=1),
        tie_break=np.concatenate([record.random for record in records]),
        level=np.concatenate([record.level for record in records]),
        answer=np.concatenate([record.answer for record in records]),
        true_satisfaction=np.concatenate([record.true_satisfaction for record in records]),
    )
