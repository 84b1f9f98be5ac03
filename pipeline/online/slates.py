"""The slates of one split of a span: read once, scored by a model that stays in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from pipeline.evaluation.slate_extractor import SlateRecord, slate_records
from pipeline.evaluation.slates import Kept, nothing_kept, reduce_slates
from pipeline.evaluation.tfma_metrics import joined_slates
from pipeline.logs.canonical import NOT_ANSWERED
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.slate_schema import slate_schema
from pipeline.training_input import LABELS

_BLOCK = 1024
# Rows a call of the model: one shape, one compilation.
_ROWS = 256

Scores = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class SplitSlates:
    """All slates of a split, in file order.

    Attributes:
        examples: As they were read.
        records: What the evaluation reads of each.
        pair_group: `[slates]`; rows of one group stand together, the last one is its anchor.
        features: The model's inputs, first axis = slates.
    """

    examples: list[bytes]
    records: list[SlateRecord]
    pair_group: NDArray[np.int64]
    features: dict[str, NDArray[Any]]

    def take(self, rows: NDArray[np.int64]) -> SplitSlates:
        """Some of the slates."""
        return SplitSlates(
            [self.examples[row] for row in rows],
            [self.records[row] for row in rows],
            self.pair_group[rows],
            {name: value[rows] for name, value in self.features.items()},
        )

    @property
    def anchors(self) -> SplitSlates:
        """The last slate of each pair group: those whose answer is new."""
        group = self.pair_group
        return self.take(np.flatnonzero(np.append(group[1:] != group[:-1], True)[: len(group)]))

    @property
    def has_answer(self) -> NDArray[np.bool_]:
        """`[slates]`, which of them hold an answer."""
        found = [(record.answer != NOT_ANSWERED).any() for record in self.records]
        return np.array(found, dtype=np.bool_)


def joined(parts: Sequence[SplitSlates]) -> SplitSlates:
    """Some splits, at least one, as one."""
    return SplitSlates(
        [example for part in parts for example in part.examples],
        [record for part in parts for record in part.records],
        np.concatenate([part.pair_group for part in parts]),
        {
            name: np.concatenate([part.features[name] for part in parts])
            for name in parts[0].features
        },
    )


class SlateReader:
    """Reads splits of spans; traces the transform graph once.

    Args:
        config: The dataset.
        parse: Serialized slates `[n]` to transformed features and labels.
    """

    def __init__(
        self, config: DatasetConfig, parse: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
    ) -> None:
        self._decoder = ExamplesToRecordBatchDecoder(slate_schema(config).SerializeToString())
        self._parse = tf.function(
            parse, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )

    def read(self, examples: str | Path, split: str) -> SplitSlates:
        """The slates of a split of an Examples artifact."""
        files = sorted(str(path) for path in Path(examples, f"Split-{split}").iterdir())
        examples: list[bytes] = []
        records: list[SlateRecord] = []
        parts: list[dict[str, NDArray[Any]]] = []
        for block in tf.data.TFRecordDataset(files).batch(_BLOCK).as_numpy_iterator():
            examples += block.tolist()
            records += slate_records(self._decoder.DecodeBatch(block.tolist()))
            parsed = self._parse(tf.constant(block))
            parts.append({name: value.numpy() for name, value in parsed.items()})
        if not parts:
            empty = self._parse(tf.constant([], tf.string))
            parts.append({name: value.numpy() for name, value in empty.items()})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        features = {name: value for name, value in joined.items() if name not in LABELS}
        return SplitSlates(examples, records, joined["pair_group"], features)


class SlateScorer:
    """Scores slates with a model whose weights may change between calls.

    Args:
        model: Features → `{"score": ŷ}`, and `"satisfaction"` where it has ŝ.
        jit_compile: Whether XLA compiles it.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool) -> None:
        def outputs(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            found = model(features, training=False)
            return {name: found[name] for name in ("score", "satisfaction") if name in found}

        self._outputs = tf.function(outputs, autograph=False, jit_compile=jit_compile)

    def scores(self, slates: SplitSlates) -> Scores:
        """`[slates, W]` each; what stands where there is no candidate means nothing."""
        count = len(slates.records)
        parts = []
        for start in range(0, max(count, 1), _ROWS):
            rows = {
                name: _filled_up(value[start : start + _ROWS])
                for name, value in slates.features.items()
            }
            parts.append({name: value.numpy() for name, value in self._outputs(rows).items()})
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def _filled_up(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows, followed by empty ones up to the static number."""
    missing = [(0, _ROWS - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, missing)


def candidate_scores(slates: SplitSlates, scores: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """The scores of each slate's candidates alone."""
    return [
        row[: len(record.answer)].astype(np.float64)
        for record, row in zip(slates.records, scores, strict=True)
    ]


def kept_of(
    scored: Iterable[tuple[SlateRecord, NDArray[np.float64]]], n_rankers: int, *, with_answers: bool
) -> Kept:
    """What the metrics need of slates.

    Args:
        scored: Slates with the scores of all rankers, `[n_rankers, n]`.
        n_rankers: How many rankers there are.
        with_answers: Whether the answers count; without them, the behaviour alone does.
    """
    rows = [(record if with_answers else _unanswered(record), scores) for record, scores in scored]
    return reduce_slates(joined_slates(rows)) if rows else nothing_kept(n_rankers)


def _unanswered(record: SlateRecord) -> SlateRecord:
    return dataclasses.replace(record, answer=np.full_like(record.answer, NOT_ANSWERED))


def spread(slates: SplitSlates, scores: NDArray[np.float32]) -> float:
    """The standard deviation of the scores of all candidates around the mean of their slate."""
    centred = [row - row.mean() for row in candidate_scores(slates, scores)]
    return float(np.concatenate(centred).std()) if centred else float("nan")
