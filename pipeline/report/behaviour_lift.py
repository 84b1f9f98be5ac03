"""Convergent validity: do people who say they are satisfied also behave so? (EASQ, Figure 3)

For each behaviour: how much more often it occurs on videos answered Satisfied or Dissatisfied than
on all shown videos. If the questionnaire measures satisfaction, likes and follows are more frequent
with the first and rarer with the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import bootstrap_ratios
from pipeline.evaluation.slates import text_hash
from pipeline.logs.canonical import DISSATISFIED, SATISFIED, behaviour_column
from pipeline.report.artifact_files import numeric_statistics

_ANSWERS = {"satisfied": SATISFIED, "dissatisfied": DISSATISFIED}
_BATCH = 4096


def behaviour_lift(
    examples: Path, statistics: str, behaviours: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Behaviour rates given the answer, on the training period.

    Args:
        examples: The Examples artifact's folder; its `answered` split holds the answers.
        statistics: The ExampleStatistics artifact's folder; its `train` split gives overall rates.
        behaviours: Names, as in `behaviours.columns` of the dataset config.

    Returns:
        Behaviour → `rate` (share of shown videos with it), and for `satisfied` and `dissatisfied`:
        `rate`, `lift` = rate / overall rate − 1 with its 95 % interval `low`, `high` (users drawn),
        `n_answers`. NaN where there is no answer, or nobody ever behaved so.
    """
    overall = _overall_rates(statistics, behaviours)
    user, answer, happened = _answered(examples / "Split-answered", behaviours)
    users, number = np.unique(user, return_inverse=True)
    result: dict[str, dict[str, Any]] = {
        name: {"rate": rate} for name, rate in zip(behaviours, overall, strict=True)
    }
    for name, code in _ANSWERS.items():
        chosen = answer == code
        sums = np.zeros((len(users), len(behaviours)))
        counts = np.zeros((len(users), 1))
        np.add.at(sums, number[chosen], happened[chosen])
        np.add.at(counts, number[chosen], 1.0)
        means = bootstrap_ratios(sums, np.broadcast_to(counts, sums.shape), seed=0)
        for column, behaviour in enumerate(behaviours):
            rate = overall[column]
            low, high = means.interval(column)
            result[behaviour][name] = {
                "rate": float(means.mean[column]),
                "lift": _lift(means.mean[column], rate),
                "low": _lift(low, rate),
                "high": _lift(high, rate),
                "n_answers": int(chosen.sum()),
            }
    return result


def _lift(rate: float, overall: float) -> float:
    return float(rate / overall - 1.0) if overall > 0 else float("nan")


def _overall_rates(statistics: str, behaviours: Sequence[str]) -> list[float]:
    """The share of shown candidates with each behaviour; candidates not shown have none."""
    found = numeric_statistics(statistics, "train")
    shown = found["exposed"].mean
    return [found[behaviour_column(name)].mean / shown for name in behaviours]


def _answered(
    split: Path, behaviours: Sequence[str]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64]]:
    """User, answer and behaviours of every answered candidate.

    A slate stands in the split once for each of its answers and again in later pair groups; an
    answer counts once.
    """
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()
    seen: set[tuple[bytes, bytes, int]] = set()
    users: list[int] = []
    answers: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    happened: list[NDArray[np.float64]] = [np.zeros((0, len(behaviours)))]
    for records in _records(split):
        batch = decoder.DecodeBatch(records)
        requests, ids = _flat(batch, "request_id"), _flat(batch, "user_id")
        sizes = batch.column(batch.schema.get_field_index("item_id")).value_lengths().to_numpy()
        row_of = np.repeat(np.arange(len(sizes)), sizes)
        first = np.cumsum(sizes) - sizes
        answer = _flat(batch, "answer")
        kept = []
        for place in np.flatnonzero(np.isin(answer, list(_ANSWERS.values()))):
            row = row_of[place]
            key = (ids[row], requests[row], int(place - first[row]))
            if key not in seen:
                seen.add(key)
                kept.append(place)
        users += [text_hash(ids[row_of[place]]) for place in kept]
        chosen = np.array(kept, dtype=np.int64)
        answers.append(answer[chosen])
        columns = [_flat(batch, behaviour_column(name))[chosen] for name in behaviours]
        happened.append(np.stack(columns, axis=1).astype(np.float64))
    return np.array(users, dtype=np.uint64), np.concatenate(answers), np.concatenate(happened)


def _records(split: Path) -> Any:
    import tensorflow as tf

    files = sorted(str(file) for file in split.glob("*"))
    for batch in tf.data.TFRecordDataset(files).batch(_BATCH).as_numpy_iterator():
        yield list(batch)


def _flat(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    column = batch.column(batch.schema.get_field_index(name))
    return column.flatten().to_numpy(zero_copy_only=False)
