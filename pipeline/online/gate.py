"""May a model that learnt one more span be served? Both sides of the question, with intervals.

The candidate, the last blessed model and the best one so far score the same slates: those of
held-out users, who are never trained on, of the newest spans. Differences are paired by user.

* *Satisfaction*, the dataset's primary metric: refused if the 95 % interval of the difference lies
  wholly below −`satisfaction_loss`. Candidates differ little from one span to the next, and answers
  are few: a bare threshold on the difference would be a lottery. With fewer than `min_pairs` pairs
  of answers, or fewer than two users who have any, there is nothing to judge by and behaviour
  decides alone.
* *Behaviour*, NDCG@10: refused if the difference lies below −`behaviour_loss`. Every slate speaks
  here, so the difference itself is precise enough.
* *Health*: refused if any score is not a finite number, if scores spread beyond all bounds, or if
  the candidates of a slate all get the same one.

Losses within the limits would add up from span to span. So both sides are judged against the best
model so far as well, behaviour with the limit `behaviour_slide`. A blessed model becomes the best
one if in neither metric it lies below it. An old model ages with its log, so that one that learns
well soon takes its place; one that only ever loses a little does not, and is stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import bootstrap_means
from pipeline.evaluation.checks import (
    BEST_SO_FAR,
    CONSTANT,
    LAST_BLESSED,
    METRIC_NAMES,
    NOT_FINITE,
    Check,
    exploded,
    remedy,
)
from pipeline.evaluation.eval_config import EXPLODED_SPREAD, GUARDRAIL
from pipeline.evaluation.slate_extractor import SlateRecord
from pipeline.evaluation.user_metrics import UserValues, user_values
from pipeline.online.settings import OnlineGateSettings
from pipeline.online.slates import kept_of


@dataclass(frozen=True)
class GateVerdict:
    """What the gate decided.

    Attributes:
        blessed: Whether the model may be pushed.
        diverged: Whether its scores are no numbers or have exploded, so that it must not learn on.
        sentence: Why, in one sentence.
        best: Whether it is the best model so far.
        checks: The comparisons; empty where there was nothing to compare with.
        users: Held-out users with a slate in the window.
        pairs: Their pairs of answers, for the primary metric.
    """

    blessed: bool
    diverged: bool
    sentence: str
    best: bool
    checks: tuple[Check, ...]
    users: int
    pairs: int


@dataclass(frozen=True)
class Compared:
    """Slates with the scores of the models.

    Attributes:
        records: The slates.
        candidate: The candidate's scores of each, `[n]`.
        blessed: The last blessed model's.
        best: The best model's so far; None: that is the last blessed one.
    """

    records: Sequence[SlateRecord]
    candidate: Sequence[NDArray[np.float64]]
    blessed: Sequence[NDArray[np.float64]]
    best: Sequence[NDArray[np.float64]] | None = None

    @property
    def models(self) -> list[Sequence[NDArray[np.float64]]]:
        """The scores of all models, the candidate's first."""
        others = [self.blessed] if self.best is None else [self.blessed, self.best]
        return [self.candidate, *others]


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
    if not all(np.isfinite(row).all() for row in scores):
        return _refused(NOT_FINITE, diverged=True)
    compared = [row for row in scores if len(row) > 1]
    if compared:
        spread = float(
            np.sqrt(np.mean(np.concatenate([row - row.mean() for row in compared]) ** 2))
        )
        if spread > EXPLODED_SPREAD:
            return _refused(exploded(spread), diverged=True)
        if all(np.ptp(row) == 0 for row in compared):
            return _refused(CONSTANT)
    if not behaviour.records:
        reason = "Blessed: no held-out user has a slate in the window to compare on."
        return GateVerdict(True, False, reason, False, (), 0, 0)
    on_behaviour = _values(behaviour, simulated=simulated, with_answers=False)
    on_answers = _values(answers, simulated=simulated, with_answers=True)
    pairs = int(on_answers.n_pairs[primary])
    limits = {LAST_BLESSED: settings.behaviour_loss}
    if behaviour.best is not None:
        limits[BEST_SO_FAR] = settings.behaviour_slide
    checks: list[Check] = []
    aside = ""
    for ranker, (against, behaviour_limit) in enumerate(limits.items(), start=1):
        satisfaction = _check(
            on_answers, primary, ranker, against, settings.satisfaction_loss, seed, of_high=True
        )
        if pairs >= settings.min_pairs and satisfaction.known:
            checks.append(satisfaction)
        else:
            aside = (
                f"; {METRIC_NAMES[primary]} was not judged, as {settings.min_pairs:,} pairs of "
                "answers are needed"
            )
        checks.append(
            _check(on_behaviour, GUARDRAIL, ranker, against, behaviour_limit, seed, of_high=False)
        )
    against_best = [check for check in checks if check.against == list(limits)[-1]]
    failed = [check for check in checks if not check.passed]
    told = failed or [check for check in checks if check.against == LAST_BLESSED]
    reasons = "; ".join(check.reason() for check in told)
    evidence = f"{len(on_behaviour.users):,} held-out users, {pairs:,} pairs of answers"
    return GateVerdict(
        blessed=not failed,
        diverged=False,
        sentence=f"{'Not blessed' if failed else 'Blessed'}: {reasons}{aside} ({evidence})."
        f"{remedy(failed)}",
        best=not failed and all(check.difference >= 0 for check in against_best),
        checks=tuple(checks),
        users=len(on_behaviour.users),
        pairs=pairs,
    )


def nothing_learnt() -> GateVerdict:
    """The verdict on a model that met no slate in its span."""
    return _refused("the span holds no slate to learn from")


def _refused(reason: str, *, diverged: bool = False) -> GateVerdict:
    return GateVerdict(False, diverged, f"Not blessed: {reason}.", False, (), 0, 0)


def _values(compared: Compared, *, simulated: bool, with_answers: bool) -> UserValues:
    models = compared.models
    scored = zip(compared.records, map(np.stack, zip(*models, strict=True)), strict=True)
    kept = kept_of(scored, len(models), with_answers=with_answers)
    return user_values(kept, simulated=simulated)


def _check(
    found: UserValues,
    metric: str,
    ranker: int,
    against: str,
    loss: float,
    seed: int,
    *,
    of_high: bool,
) -> Check:
    """The paired difference of a metric: the candidate's minus that of one before it."""
    limit = 0.0 - loss
    means = bootstrap_means(found.values[:, :, found.names.index(metric)].T, seed=seed)
    difference = float(means.mean[0] - means.mean[ranker])
    low, high = means.interval(0, minus=ranker)
    judged = high if of_high else difference
    return Check(
        metric=METRIC_NAMES[metric],
        against=against,
        difference=difference,
        low=low,
        high=high,
        limit=limit,
        of_high=of_high,
        passed=math.isnan(judged) or judged >= limit,
    )
