"""Reads what an evaluation wrote: metrics by slice, of the model and of the last blessed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma

from pipeline.evaluation.draws import Draws
from pipeline.evaluation.tfma_metrics import DRAWS
from pipeline.evaluation.user_metrics import MODEL

# () is the whole eval split, (("user_activity", "new"),) a slice of it.
SliceKey = tuple[tuple[str, str], ...]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of `user_metrics.evaluate` by slice.

    Attributes:
        candidate: Of the model that was evaluated.
        baseline: Of the last blessed model; `None` where there was none (a first run).
        draws: The candidate's on the whole eval split.
        baseline_draws: The last blessed model's.
    """

    candidate: dict[SliceKey, Metrics]
    baseline: dict[SliceKey, Metrics] | None
    draws: Draws
    baseline_draws: Draws | None

    def over_baseline(self, metric: str) -> dict[str, float]:
        """The candidate's `mean` minus that of the last blessed model, with `low` and `high`."""
        assert self.baseline is not None
        assert self.baseline_draws is not None
        name = f"{MODEL}/{metric}"
        low, high = self.draws.interval_over(self.baseline_draws, metric)
        return {
            "mean": self.candidate[()][name] - self.baseline[()][name],
            "low": low,
            "high": high,
        }


def read_evaluation(folder: str) -> Evaluation:
    """Reads the metrics of an Evaluator's output folder."""
    by_model: dict[str, dict[SliceKey, Metrics]] = {}
    draws: dict[str, Draws] = {}
    for record in tfma.load_metrics(folder):
        slice_key = tuple(
            sorted((key.column, _slice_value(key)) for key in record.slice_key.single_slice_keys)
        )
        for pair in record.metric_keys_and_values:
            key = pair.key
            if key.is_diff:
                continue
            if key.name == DRAWS:
                if not slice_key:
                    draws[key.model_name] = Draws.from_bytes(pair.value.bytes_value)
                continue
            metrics = by_model.setdefault(key.model_name, {}).setdefault(slice_key, {})
            metrics[key.name] = pair.value.double_value.value
    baseline = by_model.pop(tfma.BASELINE_KEY, None)
    if len(by_model) != 1:
        raise ValueError(
            f"{folder} holds metrics of the models {sorted(by_model)}; expected one candidate. "
            "Was it written by this pipeline's Evaluator?"
        )
    ((name, candidate),) = by_model.items()
    return Evaluation(candidate, baseline, draws[name], draws.get(tfma.BASELINE_KEY))


def _slice_value(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
