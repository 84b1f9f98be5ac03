"""From what was kept of the slates to metrics per user, their means and intervals: numpy only.

Per user, for each ranker:

* `pair_accuracy`: share of the user's pairs (a Satisfied, a Dissatisfied candidate, of any of
  their evaluated requests) in which the Satisfied one scores higher. The primary metric by default.
* `satisfied_auc`: share of the pairs (a Satisfied candidate, another exposed candidate of the same
  request, not answered Satisfied) in which the Satisfied one scores higher. It says less, as the
  other may have satisfied just as well, but it has more pairs.
* `hr@k`, `ndcg@k`, `mrr`: the paper's metrics. The list of a user is the union of the candidates
  of their requests with at least one answer; relevant = answered Satisfied. Candidates nobody
  asked about count as irrelevant, which rewards guessing whom was asked: not to be read alone.
* `behaviour_ndcg@k`: NDCG of behaviour levels (gain 2^level − 1) among the exposed candidates of a
  request, averaged over the user's requests with any positive behaviour. The guardrail.
  `behaviour_auc`: in-request pairs of different levels.
* `true_ndcg@5`, `true_top4`: in simulations only: NDCG of the true satisfaction among a request's
  candidates, and mean true satisfaction of the first four, averaged over the user's requests.

Users in whom a metric is not defined are left out of its mean; `n_users` counts the others.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import ranking_metrics as metrics
from pipeline.evaluation.bootstrap import bootstrap_means
from pipeline.evaluation.draws import COMPARED, Draws
from pipeline.evaluation.slates import BEHAVIOUR_CUTOFFS, BY_RANKER, SHARED, Kept
from pipeline.logs.canonical import DISSATISFIED, SATISFIED, UNCERTAIN

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL = "model"
BASELINES = ("popularity", "random")
# Ranks by the true satisfaction: what a perfect model would get. In simulations only.
ORACLE = "oracle"

TIED = "tied_candidates"
SPREAD = "score_spread"
HIT_CUTOFFS = (1, 5, 10)
NDCG_CUTOFFS = (5, 10, 20)
LIST_METRICS = (
    *(f"hr@{k}" for k in HIT_CUTOFFS),
    *(f"ndcg@{k}" for k in NDCG_CUTOFFS),
    "mrr",
)
PAIR_METRICS = ("pair_accuracy", "satisfied_auc", "behaviour_auc")
BEHAVIOUR_NDCG = tuple(f"behaviour_ndcg@{k}" for k in BEHAVIOUR_CUTOFFS)
TRUE_METRICS = ("true_ndcg@5", "true_top4")


def ranker_names(*, simulated: bool) -> tuple[str, ...]:
    """The rankers of an evaluation, in the order of `Slates.scores`."""
    return (MODEL, *BASELINES, ORACLE) if simulated else (MODEL, *BASELINES)


def metric_names(*, simulated: bool) -> tuple[str, ...]:
    """The metrics that each ranker gets."""
    names = (*PAIR_METRICS[:2], *LIST_METRICS, *BEHAVIOUR_NDCG, PAIR_METRICS[2])
    return (*names, *TRUE_METRICS) if simulated else names


def over(baseline: str) -> str:
    """The name under which the model's differences to a baseline ranker are reported."""
    return f"{MODEL}_over_{baseline}"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Step 2 of the evaluation.

    Attributes:
        values: By name, see `evaluate`.
        draws: Of the model's means, for comparisons with other models.
    """

    values: dict[str, float]
    draws: Draws


def evaluate(kept: Kept, *, simulated: bool, seed: int) -> Evaluated:
    """Step 2 of the evaluation.

    Args:
        kept: All slates of a slice, in any order, of the rankers `ranker_names`.
        simulated: Whether the true satisfaction is known.
        seed: Of the bootstrap.

    Returns:
        Of the values: `<ranker>/<metric>`, with `/low`, `/high` (95 %), `/n_users` and for pair
        metrics `/n_pairs`; `model_over_<baseline>/<metric>` with `/low` and `/high`, paired by
        user; `<ranker>/tied_candidates`, the share of listed candidates that tie with another of
        the same user; `model/score_spread`, the standard deviation of the scores around the mean
        of their slate; and counts `data/…`. A metric that no user has is NaN, as is an interval
        from fewer than two users.
    """
    rankers = ranker_names(simulated=simulated)
    found = user_values(kept, simulated=simulated)
    names = found.names

    result: dict[str, float] = {f"{MODEL}/{SPREAD}": _spread(kept)}
    means = bootstrap_means(np.concatenate(found.values, axis=1), seed=seed)
    for index, ranker in enumerate(rankers):
        result[f"{ranker}/{TIED}"] = float(found.tied[index])
        for offset, name in enumerate(names):
            column = index * len(names) + offset
            result[f"{ranker}/{name}"] = float(means.mean[column])
            result[f"{ranker}/{name}/low"], result[f"{ranker}/{name}/high"] = means.interval(column)
            result[f"{ranker}/{name}/n_users"] = float(means.n_users[column])
            if name in found.n_pairs:
                result[f"{ranker}/{name}/n_pairs"] = found.n_pairs[name]
            if ranker in BASELINES:
                key = f"{over(ranker)}/{name}"
                result[key] = float(means.mean[offset] - means.mean[column])
                result[f"{key}/low"], result[f"{key}/high"] = means.interval(offset, minus=column)
    drawn = {
        name: means.replicates[:, names.index(name)]
        for name in COMPARED
        if name in names and means.n_users[names.index(name)] > 1
    }
    return Evaluated(result | _data_counts(kept), Draws(_data_mark(kept), drawn))


@dataclasses.dataclass(frozen=True)
class UserValues:
    """The metrics of each user, before any averaging.

    Attributes:
        users: `[users]`, hashes of the user ids, ascending.
        names: `[metrics]`, as `metric_names` has them.
        values: `[rankers, users, metrics]`; NaN where a metric is not defined in a user.
        n_pairs: By pair metric, the pairs of all users.
        tied: `[rankers]`, the share of listed candidates that tie with another of the same user.
    """

    users: NDArray[np.uint64]
    names: tuple[str, ...]
    values: Floats
    n_pairs: dict[str, float]
    tied: Floats


def user_values(kept: Kept, *, simulated: bool) -> UserValues:
    """Computes the metrics of each user for each ranker.

    Args:
        kept: Slates in any order, of any rankers.
        simulated: Whether the true satisfaction is known.
    """
    kept = _sorted(kept)
    users, user = np.unique(kept.user, return_inverse=True)
    n_users = len(users)
    listed_user = np.searchsorted(users, kept.list_user)
    names = metric_names(simulated=simulated)
    shared = {name: kept.shared[:, column] for column, name in enumerate(SHARED)}
    satisfied = kept.list_answer == SATISFIED
    dissatisfied = kept.list_answer == DISSATISFIED

    pairs: dict[str, float] = {}
    tables, tied = [], []
    for scores, by_ranker in zip(kept.list_scores, kept.by_ranker, strict=True):
        per_slate = {name: by_ranker[:, column] for column, name in enumerate(BY_RANKER)}
        values = _list_metrics(listed_user, n_users, scores, kept.list_tie_break, satisfied)
        right, n_pairs = metrics.ordered_pairs(
            listed_user, n_users, scores, satisfied, dissatisfied
        )
        values["pair_accuracy"] = metrics.share(right, n_pairs)
        pairs["pair_accuracy"] = float(n_pairs.sum())
        for name, prefix in (("satisfied_auc", "satisfied"), ("behaviour_auc", "behaviour")):
            right = _sum_by_user(user, n_users, per_slate[f"{prefix}_right"])
            n_pairs = _sum_by_user(user, n_users, shared[f"{prefix}_pairs"])
            values[name], pairs[name] = metrics.share(right, n_pairs), float(n_pairs.sum())
        for name in (*BEHAVIOUR_NDCG, *(TRUE_METRICS if simulated else ())):
            values[name] = _mean_by_user(user, n_users, per_slate[name])
        tables.append(np.stack([values[name] for name in names], axis=1))
        tied_rows = metrics.tied_rows(listed_user, n_users, scores).sum()
        tied.append(tied_rows / max(len(scores), 1))
    return UserValues(users, names, np.stack(tables), pairs, np.array(tied))


def _spread(kept: Kept) -> float:
    """Of the model's scores of listed candidates; 0 where none is listed."""
    if not len(kept.list_user):
        return 0.0
    kept = _sorted(kept)  # or the sum would depend on the order of the slates
    scores = kept.list_scores[0]
    slates = np.stack([kept.list_user, kept.list_request], axis=1)
    _, slate = np.unique(slates, axis=0, return_inverse=True)
    slate = slate.reshape(-1)
    mean = np.bincount(slate, weights=scores) / np.bincount(slate)
    return float(np.sqrt(np.mean((scores - mean[slate]) ** 2)))


def _data_mark(kept: Kept) -> str:
    """Tells other slates, users or answers apart; the scores have no part in it."""
    kept = _sorted(kept)
    mark = hashlib.blake2b(digest_size=12)
    for column in (kept.user, kept.request, kept.list_user, kept.list_request, kept.list_answer):
        mark.update(column.tobytes())
    return mark.hexdigest()


def _data_counts(kept: Kept) -> dict[str, float]:
    shared = {name: kept.shared[:, column] for column, name in enumerate(SHARED)}
    satisfied = kept.list_answer == SATISFIED
    listed_users = len(np.unique(kept.list_user))
    return {
        "data/users": float(len(np.unique(kept.user))),
        "data/requests": float(len(kept.user)),
        "data/candidates": float(shared["candidates"].sum()),
        "data/answered_requests": float((shared["answers"] > 0).sum()),
        "data/answered_users": float(listed_users),
        "data/users_without_satisfied": float(
            listed_users - len(np.unique(kept.list_user[satisfied]))
        ),
        "data/satisfied": float(satisfied.sum()),
        "data/dissatisfied": float((kept.list_answer == DISSATISFIED).sum()),
        "data/uncertain": float((kept.list_answer == UNCERTAIN).sum()),
    }


def _sorted(kept: Kept) -> Kept:
    slates = np.lexsort((kept.request, kept.user))
    # Stable: the candidates of a request keep their order.
    rows = np.lexsort((kept.list_request, kept.list_user))
    return dataclasses.replace(
        kept,
        user=kept.user[slates],
        request=kept.request[slates],
        shared=kept.shared[slates],
        by_ranker=kept.by_ranker[:, slates],
        list_user=kept.list_user[rows],
        list_request=kept.list_request[rows],
        list_tie_break=kept.list_tie_break[rows],
        list_answer=kept.list_answer[rows],
        list_scores=kept.list_scores[:, rows],
    )


def _list_metrics(
    user: Ints, n_users: int, scores: Floats, tie_break: Floats, satisfied: NDArray[np.bool_]
) -> dict[str, Floats]:
    place = metrics.positions(user, n_users, scores, tie_break)
    values = {f"hr@{k}": metrics.hit_rate(user, n_users, place, satisfied, k) for k in HIT_CUTOFFS}
    gain = satisfied.astype(np.float64)
    values |= {f"ndcg@{k}": metrics.ndcg(user, n_users, place, gain, k) for k in NDCG_CUTOFFS}
    values["mrr"] = metrics.reciprocal_rank(user, n_users, place, satisfied)
    return values


def _sum_by_user(user: Ints, n_users: int, value: Floats) -> Floats:
    return np.bincount(user, weights=value, minlength=n_users).astype(np.float64)


def _mean_by_user(user: Ints, n_users: int, value: Floats) -> Floats:
    defined = ~np.isnan(value)
    count = _sum_by_user(user, n_users, defined.astype(np.float64))
    return metrics.share(_sum_by_user(user, n_users, np.where(defined, value, 0.0)), count)
