"""The evaluated slates in columns, and what is kept of them: numpy only.

Evaluation runs in two steps, so that what is kept stays small and may be formed in any order:

1. `reduce_slates`: of each slate, the sums that in-request metrics need, once for each ranker;
   and, of the few slates with a questionnaire answer, their candidates.
2. `pipeline.evaluation.user_metrics`: sorts the kept rows by user and request, and computes
   per-user metrics. Sorting makes the result the same whatever the order in which slates arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import ranking_metrics as metrics
from pipeline.logs.canonical import NOT_ANSWERED, SATISFIED

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BEHAVIOUR_CUTOFFS = (5, 10)
TRUE_NDCG_CUTOFF = 5
TRUE_TOP = 4


@dataclass(frozen=True)
class Slates:
    """Some slates; candidates of all of them lie one after the other in flat arrays.

    Attributes:
        user: `[slates]`, `text_hash` of the user id.
        request: `[slates]`, `text_hash` of the request id.
        size: `[slates]`, the number of candidates.
        scores: `[rankers, candidates]`.
        tie_break: `[candidates]`, `candidate_hash`.
        level: `[candidates]` behaviour level; −1 where not exposed.
        answer: `[candidates]` questionnaire answer, codes of `pipeline.logs.canonical`.
        true_satisfaction: `[candidates]`, on any scale; NaN where not known.
    """

    user: Hashes
    request: Hashes
    size: Ints
    scores: Floats
    tie_break: Floats
    level: Ints
    answer: Ints
    true_satisfaction: Floats


@dataclass(frozen=True)
class Kept:
    """What is kept of slates; `merge` joins two.

    Attributes:
        user, request: `[slates]`.
        shared: `[slates, len(SHARED)]`, sums that are the same for all rankers.
        by_ranker: `[rankers, slates, len(BY_RANKER)]`; NaN where a metric is not defined.
        list_user, list_request: `[listed]`, one row a candidate of an answered slate.
        list_tie_break, list_answer: `[listed]`.
        list_scores: `[rankers, listed]`.
    """

    user: Hashes
    request: Hashes
    shared: Floats
    by_ranker: Floats
    list_user: Hashes
    list_request: Hashes
    list_tie_break: Floats
    list_answer: Ints
    list_scores: Floats


SHARED = ("candidates", "behaviour_pairs", "satisfied_pairs", "answers")
BY_RANKER = (
    *(f"behaviour_ndcg@{k}" for k in BEHAVIOUR_CUTOFFS),
    "behaviour_right",
    "satisfied_right",
    f"true_ndcg@{TRUE_NDCG_CUTOFF}",
    f"true_top{TRUE_TOP}",
)
# The axis along which rows of a field of `Kept` are appended.
_ROW_AXIS = {"by_ranker": 1, "list_scores": 1}


def text_hash(text: bytes) -> int:
    """64 bits that stand for an id."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def candidate_hashes(request_id: bytes, item_ids: Iterable[bytes], seed: int) -> Floats:
    """A number in [0, 1) for each candidate, which depends on seed, request and item only.

    It is the *random* ranker's score, and breaks other rankers' ties.
    """
    key = hashlib.blake2b(request_id, digest_size=16, salt=seed.to_bytes(8, "little")).digest()
    digests = b"".join(hashlib.blake2b(item, digest_size=8, key=key).digest() for item in item_ids)
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def reduce_slates(slates: Slates) -> Kept:
    """Step 1 of the evaluation; see above."""
    n = len(slates.size)
    slate = np.repeat(np.arange(n), slates.size)
    exposed = slates.level >= 0
    satisfied = slates.answer == SATISFIED
    others = exposed & ~satisfied
    known = ~np.isnan(slates.true_satisfaction)
    answers = np.bincount(slate[slates.answer != NOT_ANSWERED], minlength=n)
    listed = answers[slate] > 0

    by_ranker = np.empty((len(slates.scores), n, len(BY_RANKER)))
    behaviour_pairs = satisfied_pairs = np.zeros(n)
    truth = slates.true_satisfaction[known]
    # A scale may go below 0, a gain may not: gains are counted from the request's worst candidate.
    worst = np.full(n, np.inf)
    np.minimum.at(worst, slate[known], truth)
    true_gain = truth - worst[slate[known]]
    gain = 2.0 ** np.maximum(slates.level[exposed], 0) - 1.0
    for ranker, scores in enumerate(slates.scores):
        place = metrics.positions(slate[exposed], n, scores[exposed], slates.tie_break[exposed])
        columns = [metrics.ndcg(slate[exposed], n, place, gain, k) for k in BEHAVIOUR_CUTOFFS]
        right, behaviour_pairs = metrics.ordered_level_pairs(
            slate[exposed], n, scores[exposed], slates.level[exposed]
        )
        columns.append(right)
        right, satisfied_pairs = metrics.ordered_pairs(slate, n, scores, satisfied, others)
        columns.append(right)
        place = metrics.positions(slate[known], n, scores[known], slates.tie_break[known])
        columns.append(metrics.ndcg(slate[known], n, place, true_gain, TRUE_NDCG_CUTOFF))
        columns.append(metrics.top_mean(slate[known], n, place, truth, TRUE_TOP))
        by_ranker[ranker] = np.stack(columns, axis=1)

    shared = np.stack([slates.size, behaviour_pairs, satisfied_pairs, answers], axis=1)
    return Kept(
        user=slates.user,
        request=slates.request,
        shared=shared.astype(np.float64),
        by_ranker=by_ranker,
        list_user=slates.user[slate][listed],
        list_request=slates.request[slate][listed],
        list_tie_break=slates.tie_break[listed],
        list_answer=slates.answer[listed],
        list_scores=slates.scores[:, listed],
    )


def nothing_kept(n_rankers: int) -> Kept:
    """The neutral element of `merge`."""
    none = np.zeros(0, dtype=np.uint64)
    return reduce_slates(
        Slates(
            user=none,
            request=none,
            size=np.zeros(0, dtype=np.int64),
            scores=np.zeros((n_rankers, 0)),
            tie_break=np.zeros(0),
            level=np.zeros(0, dtype=np.int64),
            answer=np.zeros(0, dtype=np.int64),
            true_satisfaction=np.zeros(0),
        )
    )


def merge(parts: list[Kept]) -> Kept:
    """Joins what was kept of several sets of slates."""
    joined = {
        field.name: np.concatenate(
            [getattr(part, field.name) for part in parts], axis=_ROW_AXIS.get(field.name, 0)
        )
        for field in fields(Kept)
    }
    return Kept(**joined)


def concatenate_slates(parts: list[Slates]) -> Slates:
    """Joins several sets of slates of the same rankers."""
    joined = {
        field.name: np.concatenate(
            [getattr(part, field.name) for part in parts], axis=1 if field.name == "scores" else 0
        )
        for field in fields(Slates)
    }
    return Slates(**joined)
