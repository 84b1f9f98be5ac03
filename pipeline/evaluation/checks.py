"""One limit of a gate: what was compared, by how much it differs, and whether that passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.evaluation.eval_config import GUARDRAIL

LAST_BLESSED = "the last blessed model"
BEST_SO_FAR = "the best model so far"
METRIC_NAMES = {
    "pair_accuracy": "pair accuracy",
    "satisfied_auc": "satisfied AUC",
    GUARDRAIL: "behaviour NDCG@10",
}


@dataclass(frozen=True)
class Check:
    """One limit of the gate.

    Attributes:
        metric: What is limited, e.g. `pair accuracy`.
        against: The ranking it is compared with.
        difference: The metric's difference to that ranking; NaN where it is not known.
        low, high: The difference's 95 % interval; NaN where it is not known.
        limit: The least difference that passes.
        of_high: Whether the limit is on the upper end of the interval instead.
        passed: What was decided.
    """

    metric: str
    against: str
    difference: float
    low: float
    high: float
    limit: float
    of_high: bool
    passed: bool

    @property
    def known(self) -> bool:
        """Whether there was the data that the check needs."""
        return not math.isnan(self.high if self.of_high else self.difference)

    def reason(self) -> str:
        """The check's outcome as part of a sentence."""
        if not self.known:
            return (
                f"{self.metric} could not be compared with {self.against}, because too few users "
                "of the eval split have the data for it"
            )
        interval = "" if math.isnan(self.low) else f"95 % {self.low:+.3f} to {self.high:+.3f}, "
        end = "upper end " if self.of_high else ""
        return (
            f"{self.metric} {self.difference:+.3f} against {self.against} "
            f"({interval}{end}needed {self.limit:+g} or more)"
        )
