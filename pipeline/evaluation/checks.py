"""One limit of a gate: what was compared, by how much it differs, and whether that passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.eval_config import GUARDRAIL

LAST_BLESSED = "the last blessed model"
BEST_SO_FAR = "the best model so far"
SCORES = "scores"
CONSTANT = (
    "it gives the candidates of a slate the same score: nothing that tells them apart reaches ŷ "
    "(look at the report's alarms, lower trainer.model.learning_rate)"
)
NOT_FINITE = (
    "its scores are not finite numbers, training has diverged (lower trainer.model.learning_rate)"
)
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
        said: Instead of the sentence about the difference: what is wrong with the scores.
    """

    metric: str
    against: str
    difference: float
    low: float
    high: float
    limit: float
    of_high: bool
    passed: bool
    said: str = ""

    @property
    def known(self) -> bool:
        """Whether there was the data that the check needs."""
        return not math.isnan(self.high if self.of_high else self.difference)

    def reason(self) -> str:
        """The check's outcome as part of a sentence."""
        if self.said:
            return self.said
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


def exploded(spread: float) -> str:
    """What is said of scores that spread beyond `EXPLODED_SPREAD` within a slate."""
    return (
        f"its scores spread by {spread:.3g} within a slate, they have exploded "
        "(lower trainer.model.learning_rate)"
    )


def remedy(failed: Sequence[Check]) -> str:
    """What to do about the comparisons that failed; "" where the checks say it themselves."""
    told = []
    compared = [check for check in failed if not check.said and check.known]
    if any(check.metric == METRIC_NAMES[GUARDRAIL] for check in compared):
        told.append("behaviour pays too much: lower trainer.model.lambda_dpo, where there is one")
    lost = [check for check in compared if check.metric != METRIC_NAMES[GUARDRAIL]]
    if any(check.high < 0 and check.against not in (LAST_BLESSED, BEST_SO_FAR) for check in lost):
        told.append(
            "it ranks against the answers: see that questionnaire.answers does not exchange "
            "satisfied and dissatisfied"
        )
    elif lost:
        told.append("look at who answered, and for a burst of answers, before it learns on")
    return f" To do: {'; '.join(told)}." if told else ""
