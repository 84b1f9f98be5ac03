"""What a person should look at: changes of the series that no gate sees."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from easq_keras.models.easq import COLLAPSED_STD
from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.example_gen.answer_burst import answer_burst

# A change is judged against so many spans before it, and only once there are as many.
HISTORY = 8
_DRIFT_DEVIATIONS = 4.0
_SCALE_FACTOR = 2.0


def alarms(record: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences; none where all is well.

    Args:
        record: The span's record in the series.
        before: The records of the spans before it, oldest first.
    """
    found = []
    spread = _number(record["satisfaction_std"])
    if spread is not None and spread < COLLAPSED_STD:
        found.append(
            f"ŝ has collapsed: it spreads by {spread:.3g} within a slate, less than "
            f"{COLLAPSED_STD:g}, and tells nothing to ŷ"
        )
    burst = answer_burst(record.get("counts", {}).get("answers", {}))
    if burst is not None:
        found.append(burst)
    recent = before[-HISTORY:]
    if len(recent) < HISTORY:
        return found
    scale = _number(record["score_std"])
    usual = [value for value in (_number(one["score_std"]) for one in recent) if value is not None]
    if scale is not None and usual:
        middle = statistics.median(usual)
        if not middle / _SCALE_FACTOR <= scale <= middle * _SCALE_FACTOR:
            found.append(
                f"the scale of ŷ has changed: it spreads by {scale:.3g} within a slate, usually "
                f"by {middle:.3g}"
            )
    value = _guardrail(record)
    earlier = [found for found in map(_guardrail, recent) if found is not None]
    if value is not None and len(earlier) == HISTORY:
        mean, deviation = statistics.fmean(earlier), statistics.stdev(earlier)
        if value < mean - _DRIFT_DEVIATIONS * max(deviation, 1e-3):
            found.append(
                f"drift: behaviour NDCG@10 of the span, before it was learnt, is {value:.3f}; it "
                f"was {mean:.3f} ± {deviation:.3f}"
            )
    return found


def _guardrail(record: Mapping[str, Any]) -> float | None:
    return _number(record["rankers"]["model"][GUARDRAIL]["mean"])


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
