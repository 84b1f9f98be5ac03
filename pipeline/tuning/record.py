"""What is told of a search: each trial with its interval, and whether the best is but luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.configs import TuningSettings
from pipeline.evaluation.bootstrap import Means, bootstrap_means
from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.tuning.bench import TrialBench, TrialResult, mean
from pipeline.tuning.space import Tunable

_FIRST = 0


def tuning_record(
    bench: TrialBench,
    results: Sequence[TrialResult],
    *,
    method: str,
    tuning: TuningSettings,
    primary: str,
) -> dict[str, Any]:
    """Returns the search as plain data; what is not known is NaN.

    Args:
        bench: On which the trials were run.
        results: The trials, the configured settings first.
        method: What was trained.
        tuning: The settings of the search.
        primary: The metric that was maximised.
    """
    means = bootstrap_means(
        np.stack([result.judgement.primary for result in results], axis=1), seed=tuning.seed
    )
    best = int(np.argmax([result.score for result in results]))
    return {
        "method": method,
        "objective": {
            "metric": primary,
            "guardrail": GUARDRAIL,
            "behaviour_loss": tuning.behaviour_loss,
        },
        "budget": {
            "trials": len(results),
            "reference_passes": int(bench.space.weight is not None),
            "compiled_models": bench.models,
            "training_slates": bench.training_slates,
            "validation_slates": len(bench.validation),
            "validation_users": int(means.n_users[_FIRST]),
            "validation_pairs": bench.validation.pairs,
            "seconds": round(bench.seconds, 2),
        },
        "space": [_searched(tunable) for tunable in bench.space.tunables],
        "reference": {
            "metric": mean(bench.reference.primary),
            "behaviour": mean(bench.reference.behaviour),
        },
        "trials": [
            {
                "values": result.values,
                "score": result.score,
                "within_limit": bool(result.behaviour_drop <= tuning.behaviour_loss),
                "metric": _interval(means, index),
                "over_configured": _interval(means, index, minus=_FIRST),
                "behaviour": mean(result.judgement.behaviour),
                "behaviour_drop": result.behaviour_drop,
                "true_top4": result.judgement.true_top4,
                "seconds": result.seconds,
            }
            for index, result in enumerate(results)
        ],
        "chosen": best,
        "sentence": _sentence(means, results, best, tuning.behaviour_loss),
    }


def _searched(tunable: Tunable) -> dict[str, Any]:
    return {
        "name": tunable.name,
        "configured": tunable.configured,
        "choices": list(tunable.choices),
        "low": tunable.low,
        "high": tunable.high,
    }


def _interval(means: Means, column: int, minus: int | None = None) -> dict[str, float]:
    low, high = means.interval(column, minus=minus)
    value = means.mean[column] - (0.0 if minus is None else means.mean[minus])
    return {"mean": float(value), "low": low, "high": high}


def _sentence(means: Means, results: Sequence[TrialResult], best: int, limit: float) -> str:
    """What was chosen, and how far the data bears it out."""
    if not results[best].behaviour_drop <= limit:
        return (
            f"No trial kept within the limit of {limit:g} on behaviour: trial {best + 1} came "
            "closest and was chosen."
        )
    if best == _FIRST:
        return "No trial was better than the configured settings: they stay."
    gain = _interval(means, best, minus=_FIRST)
    users = int(means.n_users[best])
    chosen = (
        f"Trial {best + 1} was chosen: {gain['mean']:+.3f} over the configured settings "
        f"(95 % {gain['low']:+.3f} to {gain['high']:+.3f}, {users:,} users)"
    )
    if gain["low"] > 0:
        return (
            f"{chosen}. As the best of {len(results)} trials on the same slates, it flatters "
            "itself: the evaluation on newer slates says what it is worth."
        )
    half = (gain["high"] - gain["low"]) / 2
    needed = math.ceil(users * (half / gain["mean"]) ** 2) if gain["mean"] > 0 and half > 0 else 0
    enough = f"; about {needed:,} users would tell" if needed > users else ""
    return f"{chosen}, which may be chance{enough}."
