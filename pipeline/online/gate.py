"""May a model that learnt one more span be served? Both sides of the question, with intervals.

The candidate and the last blessed model score the same slates: those of held-out users, who are
never trained on, of the newest spans. Differences are paired by user.

* *Satisfaction*, the dataset's primary metric: refused if the 95 % interval of the difference lies
  wholly below −`satisfaction_loss`. Candidates differ little from one span to the next, and answers
  are few: a bare threshold on the difference would be a lottery. With fewer than `min_pairs` pairs
  of answers, or fewer than two users who have any, there is nothing to judge by and behaviour
  decides alone.
* *Behaviour*, NDCG@10: refused if the difference lies below −`behaviour_loss`. Every slate speaks
  here, so the difference itself is precise enough.
* *Health*: refused if any score is not a finite number, or if all scores are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import Means, bootstrap_means
from pipeline.evaluation.checks import LAST_BLESSED, METRIC_NAMES, Check
from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.evaluation.slates import reduce_slates
from pipeline.evaluation.tfma_metrics import joined_slates
from pipeline.evaluation.user_metrics import UserValues, user_values
from pipeline.online.settings import OnlineGateSettings
from pipeline.online.slates import SplitSlates, candidate_scores


@dataclass(frozen=True)
class GateVerdict:
    """What the gate decided.

    Attributes:
        blessed: Whether the model may be pushed.
        diverged: Whether its scores are no numbers, so that it must not learn on either.
        sentence: Why, in one sentence.
        checks: The two comparisons; empty where there was nothing to compare with.
        users: Held-out users with a slate in the window.
        pairs: Their pairs of answers, for the primary metric.
    """

    blessed: bool
    diverged: bool
    sentence: str
    checks: tuple[Check, ...]
    users: int
    pairs: int


def judge(
    slates: Sequence[SplitSlates],
    candidate: Sequence[NDArray[np.float32]],
    blessed: Sequence[NDArray[np.float32]] | None,
    *,
    primary: str,
    simulated: bool,
    settings: OnlineGateSettings,
    seed: int,
) -> GateVerdict:
    """Decides.

    Args:
        slates: The held-out slates of each span of the window.
        candidate: The candidate's scores of them, `[slates, W]` each.
        blessed: The last blessed model's; `None` where there is no such model.
        primary: The primary satisfaction metric's name.
        simulated: Whether the true satisfaction is known.
        settings: The limits.
        seed: Of the bootstrap.
    """
    scores = [
        row
        for part, all_scores in zip(slates, candidate, strict=True)
        for row in candidate_scores(part, all_scores)
    ]
    flat = np.concatenate(scores) if scores else np.zeros(0)
    if not np.isfinite(flat).all():
        return _refused("its scores are not finite numbers: training has diverged", diverged=True)
    if len(flat) > 1 and np.ptp(flat) == 0:
        return _refused(f"it gives every candidate the same score, {flat[0]:g}")
    if blessed is None:
        return GateVerdict(
            True, False, "Blessed: there is no blessed model to compare with.", (), 0, 0
        )
    if not scores:
        return GateVerdict(
            True,
            False,
            "Blessed: no held-out user has a slate in the window to compare on.",
            (),
            0,
            0,
        )
    found = _paired_values(slates, scores, blessed, simulated=simulated)
    columns = [found.names.index(name) for name in (primary, GUARDRAIL)]
    values = [found.values[ranker, :, column] for column in columns for ranker in (0, 1)]
    means = bootstrap_means(np.stack(values, axis=1), seed=seed)
    pairs = int(found.n_pairs.get(primary, 0))
    satisfaction = _check(means, 0, primary, -settings.satisfaction_loss, of_high=True)
    behaviour = _check(means, 2, GUARDRAIL, -settings.behaviour_loss, of_high=False)
    checks = [behaviour]
    needed = f"{pairs:,} pairs of answers, {settings.min_pairs:,} needed"
    aside = f"; {METRIC_NAMES[primary]} not judged: {needed}"
    if pairs >= settings.min_pairs and satisfaction.known:
        checks.insert(0, satisfaction)
        aside = ""
    failed = [check for check in checks if check.known and not check.passed]
    word = "Not blessed" if failed else "Blessed"
    reasons = "; ".join(check.reason() for check in failed or checks if check.known)
    users = len(found.users)
    evidence = f"{users:,} held-out users, {pairs:,} pairs"
    return GateVerdict(
        blessed=not failed,
        diverged=False,
        sentence=f"{word}: {reasons or 'nothing to compare'}{aside} ({evidence}).",
        checks=tuple(checks),
        users=users,
        pairs=pairs,
    )


def _refused(reason: str, *, diverged: bool = False) -> GateVerdict:
    return GateVerdict(False, diverged, f"Not blessed: {reason}.", (), 0, 0)


def _paired_values(
    slates: Sequence[SplitSlates],
    candidate: Sequence[NDArray[np.float64]],
    blessed: Sequence[NDArray[np.float32]],
    *,
    simulated: bool,
) -> UserValues:
    records = [record for part in slates for record in part.records]
    others = [
        row
        for part, all_scores in zip(slates, blessed, strict=True)
        for row in candidate_scores(part, all_scores)
    ]
    scored = [
        (record, np.stack([mine, other]))
        for record, mine, other in zip(records, candidate, others, strict=True)
    ]
    return user_values(reduce_slates(joined_slates(scored)), simulated=simulated)


def _check(means: Means, column: int, metric: str, limit: float, *, of_high: bool) -> Check:
    """The comparison of two neighbouring columns, the candidate's and the last blessed model's."""
    difference = float(means.mean[column] - means.mean[column + 1])
    low, high = means.interval(column, minus=column + 1)
    judged = high if of_high else difference
    return Check(
        metric=METRIC_NAMES[metric],
        against=LAST_BLESSED,
        difference=difference,
        low=low,
        high=high,
        limit=limit,
        of_high=of_high,
        passed=math.isnan(judged) or judged >= limit,
    )
