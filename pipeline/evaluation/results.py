"""Reads what an evaluation wrote: metrics by slice, of the model and of the last blessed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma

# () is the whole eval split, (("user_activity", "new"),) a slice of it.
SliceKey = tuple[tuple[str, str], ...]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of `user_metrics.evaluate` by slice.

    Attributes:
        candidate: Of the model that was evaluated.
        baseline: Of the last blessed model; `None` where there was none (a first run).
    """

    candidate: dict[SliceKey, Metrics]
    baseline: dict[SliceKey, Metrics] | None


def read_evaluation(folder: str) -> Evaluation:
    """Reads the metrics of an Evaluator's output folder."""
    by_model: dict[str, dict[SliceKey, Metrics]] = {}
    for record in tfma.load_metrics(folder):
        slice_key = tuple(
            sorted((key.column, _slice_value(key)) for key in record.slice_key.single_slice_keys)
        )
        for pair in record.metric_keys_and_values:
            key = pair.key
            if key.is_diff:
                continue
            metrics = by_model.setdefault(key.model_name, {}).setdefault(slice_key, {})
            metrics[key.name] = _value(pair.value)
    baseline = by_model.pop(tfma.BASELINE_KEY, None)
    if len(by_model) != 1:
        raise ValueError(
            f"{folder} holds metrics of the models {sorted(by_model)}; expected one candidate. "
            "Was it written by this pipeline's Evaluator?"
        )
    return Evaluation(candidate=next(iter(by_model.values())), baseline=baseline)


def _slice_value(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _value(value: Any) -> float:
    return value.double_value.value
