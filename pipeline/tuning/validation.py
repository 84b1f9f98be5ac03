"""The newest slates of the training period, which judge the trials and train none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from easq_keras.models import EMER
from pipeline.evaluation.eval_config import GUARDRAIL, is_simulated
from pipeline.evaluation.slate_extractor import SlateRecord, slate_records
from pipeline.evaluation.slates import reduce_slates
from pipeline.evaluation.tfma_metrics import joined_slates
from pipeline.evaluation.user_metrics import UserValues, user_values
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.slate_schema import slate_schema
from pipeline.training_session import TrainingSession
from pipeline.transform import MASK

Floats = NDArray[np.float64]

_AT_ONCE = 1024


@dataclass(frozen=True)
class Judgement:
    """How one trial ranks the validation slates.

    Attributes:
        primary: `[users]`, the dataset's primary metric; NaN where a user has no pair.
        behaviour: `[users]`, behaviour NDCG@10.
        true_top4: Mean true satisfaction of the first four; NaN outside a simulation. It is told
            and never used.
    """

    primary: Floats
    behaviour: Floats
    true_top4: float


class ValidationSlates:
    """Slates in memory, ready to be ranked by any model.

    Args:
        session: Any session of the same dataset; it transforms the slates.
        config: The dataset.
        files: Record files of the train split.
        skip: How many slates of them trained; the others judge.

    Attributes:
        pairs: Of the primary metric, of all users: without one there is nothing to judge by.
    """

    def __init__(
        self, session: TrainingSession, config: DatasetConfig, files: Sequence[str], skip: int
    ) -> None:
        self._primary = config.questionnaire.primary_metric
        self._simulated = is_simulated(config)
        self._records: list[SlateRecord] = []
        self._features: list[dict[str, tf.Tensor]] = []
        decoder = ExamplesToRecordBatchDecoder(slate_schema(config).SerializeToString())
        for serialized in tf.data.TFRecordDataset(list(files)).skip(skip).batch(_AT_ONCE):
            self._records += slate_records(decoder.DecodeBatch(serialized.numpy().tolist()))
            self._features.append(session.parse(serialized))
        untold = self._values([np.zeros([1, len(record.answer)]) for record in self._records])
        self.pairs = int(untold.n_pairs[self._primary])

    def __len__(self) -> int:
        return len(self._records)

    def judge(self, model: EMER) -> Judgement:
        """Ranks all slates by ŷ; every metric is NaN if a score is not finite."""
        scores = list(self._scores(model))
        if not all(np.isfinite(row).all() for row in scores):
            nothing = np.full(len({record.user for record in self._records}), np.nan)
            return Judgement(nothing, nothing, float("nan"))
        found = self._values(scores)
        return Judgement(
            primary=_column(found, self._primary),
            behaviour=_column(found, GUARDRAIL),
            true_top4=float(np.nanmean(_column(found, "true_top4"))) if self._simulated else np.nan,
        )

    def _values(self, scores: Sequence[Floats]) -> UserValues:
        scored = list(zip(self._records, scores, strict=True))
        return user_values(reduce_slates(joined_slates(scored)), simulated=self._simulated)

    def _scores(self, model: EMER) -> Iterator[Floats]:
        """Of each slate, `[1, candidates]`."""
        for features in self._features:
            scores = model(features, training=False)["score"].numpy().astype(np.float64)
            for row, real in zip(scores, features[MASK].numpy() == 1, strict=True):
                yield row[real][None]


def _column(found: UserValues, metric: str) -> Floats:
    return found.values[0, :, found.names.index(metric)]
