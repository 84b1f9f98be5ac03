"""Test, then train: how well the model does on a span that it has not learnt yet.

Behaviour metrics are over the span's slates. Satisfaction metrics are over the slates whose answer
became known in the span; answers are few, so they are averaged over a window of spans, each slate
scored by the model of its own time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.slates import Kept, merge
from pipeline.evaluation.tfma_metrics import ranker_scores
from pipeline.evaluation.user_metrics import evaluate, metric_names, ranker_names
from pipeline.online.slates import Scores, SplitSlates, candidate_scores, kept_of, spread

# What a span says of the answers rather than of the behaviours.
_OF_ANSWERS = ("pair_accuracy", "satisfied_auc", "hr@", "ndcg@", "mrr")
Values = dict[str, dict[str, dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class TestedSpan:
    """What is kept of a tested span.

    Attributes:
        behaviour: Of all slates, without their answers.
        answers: Of the slates with a new answer.
        score_std, satisfaction_std: Spread of ŷ and ŝ within slates; NaN where there is none.
    """

    behaviour: Kept
    answers: Kept
    score_std: float
    satisfaction_std: float


def test_span(
    dense: Sequence[tuple[SplitSlates, Scores]],
    answered: Sequence[tuple[SplitSlates, Scores]],
    *,
    simulated: bool,
) -> TestedSpan:
    """Reduces a scored span to what its metrics need.

    Args:
        dense: All slates of the span.
        answered: Those with an answer that became known in the span.
        simulated: Whether the true satisfaction is known.
    """
    return TestedSpan(
        behaviour=_kept(dense, simulated=simulated, with_answers=False),
        answers=_kept(answered, simulated=simulated, with_answers=True),
        score_std=_mean_spread(dense, "score"),
        satisfaction_std=_mean_spread(dense, "satisfaction"),
    )


def _mean_spread(scored: Sequence[tuple[SplitSlates, Scores]], name: str) -> float:
    found = [
        (spread(slates, scores[name]), len(slates.records))
        for slates, scores in scored
        if name in scores and slates.records
    ]
    if not found:
        return float("nan")
    spreads, sizes = zip(*found, strict=True)
    return float(np.average(spreads, weights=sizes))


def _kept(
    scored: Sequence[tuple[SplitSlates, Scores]], *, simulated: bool, with_answers: bool
) -> Kept:
    rows = (
        (record, ranker_scores(record, of_model, simulated=simulated))
        for slates, scores in scored
        for record, of_model in zip(
            slates.records, candidate_scores(slates, scores["score"]), strict=True
        )
    )
    return kept_of(rows, len(ranker_names(simulated=simulated)), with_answers=with_answers)


def prequential_values(
    behaviour: Kept, answers: Sequence[Kept], *, simulated: bool, seed: int
) -> Values:
    """Ranker → metric → `mean`, `low`, `high`, `n_users` and for pairs `n_pairs`.

    Args:
        behaviour: Of the span.
        answers: Of the window's spans, this one included.
        simulated: Whether the true satisfaction is known.
        seed: Of the bootstrap.
    """
    of_span = evaluate(behaviour, simulated=simulated, seed=seed).values
    of_window = evaluate(merge(list(answers)), simulated=simulated, seed=seed).values
    values: Values = {}
    for ranker in ranker_names(simulated=simulated):
        for metric in metric_names(simulated=simulated):
            found = of_window if metric.startswith(_OF_ANSWERS) else of_span
            name = f"{ranker}/{metric}"
            entry = {"mean": found[name]}
            for end in ("low", "high", "n_users", "n_pairs"):
                if f"{name}/{end}" in found:
                    entry[end] = found[f"{name}/{end}"]
            values.setdefault(ranker, {})[metric] = entry
    return values


def save_kept(path: Path, kept: Kept) -> None:
    """Writes it as NumPy arrays."""
    np.savez(path, **dataclasses.asdict(kept))


def load_kept(path: Path) -> Kept:
    """Reads what `save_kept` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        found: dict[str, NDArray] = {name: arrays[name] for name in arrays.files}
    return Kept(**found)
