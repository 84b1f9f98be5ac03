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

from pipeline.evaluation.bootstrap import bootstrap_means
from pipeline.evaluation.checks import LAST_BLESSED, METRIC_NAMES, Check
from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.evaluation.slate_extractor import SlateRecord
from pipeline.evaluation.user_metrics import UserValues, user_values
from pipeline.online.settings import OnlineGateSettings
from pipeline.online.slates import kept_of


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


@dataclass(frozen=True)
class Compared:
    """Slates with the scores of both models.

    Attributes:
        records: The slates.
        candidate: The candidate's scores of each, `[n]`.
        blessed: The last blessed model's.
    """

    records: Sequence[SlateRecord]
    candidate: Sequence[NDArray[np.float64]]
    blessed: Sequence[NDArray[np.float64]]


def judge(
    behaviour: Compared,
    answers: Compared,
    *,
    primary: str,
    simulated: bool,
    settings: OnlineGateSettings,
    seed: int,
) -> GateVerdict:
    """Decides.

    Args:
        behaviour: The held-out slates of the window.
        answers: Those with an answer, late answers included.
        primary: The primary satisfaction metric's name.
        simulated: Whether the true satisfaction is known.
        settings: The limits.
        seed: Of the bootstrap.
    """
    scores = [*behaviour.candidate, *answers.candidate]
    flat = np.concatenate(scores) if scores else np.zeros(0)
    if not np.isfinite(flat).all():
        return _refused("its scores are not finite numbers, training has diverged", diverged=True)
    if len(flat) > 1 and np.ptp(flat) == 0:
        return _refused(f"it gives every candidate the same score, {flat[0]:g}")
    if not behaviour.records:
        reason = "Blessed: no held-out user has a slate in the window to compare on."
        return GateVerdict(True, False, reason, (), 0, 0)
    on_behaviour = _values(behaviour, simulated=simulated, with_answers=False)
    on_answers = _values(answers, simulated=simulated, with_answers=True)
    checks = [
        _check(on_behaviour, GUARDRAIL, 0.0 - settings.behaviour_loss, seed=seed, of_high=False)
    ]
    pairs = int(on_answers.n_pairs[primary])
    satisfaction = _check(
        on_answers, primary, 0.0 - settings.satisfaction_loss, seed=seed, of_high=True
    )
    aside = ""
    if pairs >= settings.min_pairs and satisfaction.known:
        checks.insert(0, satisfaction)
    else:
        aside = (
            f"; {METRIC_NAMES[primary]} was not judged, as {settings.min_pairs:,} pairs of answers "
            "are needed"
        )
    failed = [check for check in checks if not check.passed]
    reasons = "; ".join(check.reason() for check in failed or checks)
    evidence = f"{len(on_behaviour.users):,} held-out users, {pairs:,} pairs of answers"
    return GateVerdict(
        blessed=not failed,
        diverged=False,
        sentence=f"{'Not blessed' if failed else 'Blessed'}: {reasons}{aside} ({evidence}).",
        checks=tuple(checks),
        users=len(on_behaviour.users),
        pairs=pairs,
    )


def nothing_learnt() -> GateVerdict:
    """The verdict on a model that met no slate in its span."""
    return _refused("the span holds no slate to learn from")


def _refused(reason: str, *, diverged: bool = False) -> GateVerdict:
    return GateVerdict(False, diverged, f"Not blessed: {reason}.", (), 0, 0)


def _values(compared: Compared, *, simulated: bool, with_answers: bool) -> UserValues:
    scores = zip(compared.candidate, compared.blessed, strict=True)
    scored = zip(compared.records, map(np.stack, scores), strict=True)
    return user_values(kept_of(scored, 2, with_answers=with_answers), simulated=simulated)


def _check(found: UserValues, metric: str, limit: float, *, seed: int, of_high: bool) -> Check:
    """The paired difference of a metric: the candidate's minus the last blessed model's."""
    means = bootstrap_means(found.values[:, :, found.names.index(metric)].T, seed=seed)
    difference = float(means.mean[0] - means.mean[1])
    low, high = means.interval(0, minus=1)
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
