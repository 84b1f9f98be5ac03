"""Evaluation of whole slates: a small world worked out by hand, and invariants."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.slates import (
    Slates,
    candidate_hashes,
    concatenate_slates,
    merge,
    nothing_kept,
    reduce_slates,
    text_hash,
)
from pipeline.evaluation.user_metrics import evaluate, metric_names, ranker_names

# Answers: 2 satisfied, 1 uncertain, 0 dissatisfied, −1 none. Levels: −1 not exposed.
N, D, U, S = -1, 0, 1, 2


def slate(user, request, model, *, popularity=None, level=None, answer=None, truth=None):
    """One slate; by default nothing is popular, all is exposed at level 0, nobody answered."""
    n = len(model)
    items = [f"item{index}".encode() for index in range(n)]
    hashes = candidate_hashes(request.encode(), items, seed=0)
    truth = np.full(n, np.nan) if truth is None else np.array(truth, dtype=float)
    scores = [model, popularity if popularity is not None else [0.0] * n, hashes]
    if not np.isnan(truth).any():
        scores.append(truth)
    return Slates(
        user=np.array([text_hash(user.encode())], dtype=np.uint64),
        request=np.array([text_hash(request.encode())], dtype=np.uint64),
        size=np.array([n]),
        scores=np.array(scores, dtype=float),
        tie_break=hashes,
        level=np.array(level if level is not None else [0] * n),
        answer=np.array(answer if answer is not None else [N] * n),
        true_satisfaction=truth,
    )


def evaluated(*slates, simulated=False):
    kept = reduce_slates(concatenate_slates(list(slates)))
    return evaluate(kept, simulated=simulated, seed=0).values


def test_pair_accuracy_compares_answers_across_a_users_requests():
    result = evaluated(
        # Ann: satisfied .9 beats dissatisfied .4 of her other request, loses to none: 1 of 1.
        slate("ann", "r1", [0.9, 0.1], answer=[S, N]),
        slate("ann", "r2", [0.4, 0.8], answer=[D, N]),
        # Bob: two dissatisfied (.7, .3) around his satisfied .5: 1 of 2.
        slate("bob", "r3", [0.5, 0.7, 0.3], answer=[S, D, D]),
        # Cy answered, but has no pair; Di was never asked.
        slate("cy", "r4", [0.5, 0.7], answer=[S, N]),
        slate("di", "r5", [0.5, 0.7]),
    )
    assert result["model/pair_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert result["model/pair_accuracy/n_users"] == 2
    assert result["model/pair_accuracy/n_pairs"] == 3


def test_a_constant_ranker_gets_half_of_the_pairs_right():
    result = evaluated(slate("ann", "r1", [0.9, 0.1, 0.2], answer=[S, D, N]))
    assert result["popularity/pair_accuracy"] == 0.5
    assert result["popularity/tied_candidates"] == 1.0
    assert result["model/tied_candidates"] == 0.0
    assert result["model_over_popularity/pair_accuracy"] == 0.5


def test_satisfied_auc_compares_with_the_other_exposed_candidates_of_the_same_request():
    result = evaluated(
        slate(
            "ann",
            "r1",
            #    S    other  not exposed  dissatisfied
            [0.5, 0.6, 0.9, 0.1],
            level=[1, 0, -1, 0],
            answer=[S, N, N, D],
        ),
        # No satisfied answer here: these candidates are not compared with those of r1.
        slate("ann", "r2", [0.99, 0.98], answer=[D, N]),
    )
    assert result["model/satisfied_auc"] == 0.5
    assert result["model/satisfied_auc/n_pairs"] == 2


def test_the_papers_list_of_a_user_is_all_candidates_of_their_answered_requests():
    result = evaluated(
        slate("ann", "r1", [0.9, 0.5], answer=[N, S]),
        slate("ann", "r2", [0.7, 0.3], level=[-1, 0], answer=[N, S]),
        slate("ann", "r3", [0.8, 0.6]),  # nobody answered: not in the list
        slate("bob", "r4", [0.8, 0.6], answer=[U, D]),  # no satisfied answer: skipped, and counted
    )
    # Ann's list: .9 none, .7 none, .5 satisfied, .3 satisfied.
    assert result["model/hr@1"] == 0.0
    assert result["model/hr@5"] == 1.0
    assert result["model/mrr"] == pytest.approx(1 / 3)
    ideal = 1 + 1 / math.log2(3)
    assert result["model/ndcg@5"] == pytest.approx((1 / math.log2(4) + 1 / math.log2(5)) / ideal)
    assert result["model/ndcg@5/n_users"] == 1
    assert result["data/answered_users"] == 2
    assert result["data/users_without_satisfied"] == 1
    assert (result["data/satisfied"], result["data/uncertain"], result["data/dissatisfied"]) == (
        2,
        1,
        1,
    )


def test_behaviour_ndcg_ranks_exposed_candidates_and_averages_a_users_requests_first():
    result = evaluated(
        # Exposed, by score: level 0, level 2. DCG (2² − 1)/log2 3, ideal 3.
        slate("ann", "r1", [0.9, 0.8, 0.7], level=[0, -1, 2]),
        slate("ann", "r2", [0.9, 0.8], level=[1, 0]),  # perfect
        slate("ann", "r3", [0.9, 0.8], level=[0, 0]),  # no positive behaviour: not defined
        slate("bob", "r4", [0.9, 0.8], level=[1, 0]),
    )
    ann = (1 / math.log2(3) + 1.0) / 2
    assert result["model/behaviour_ndcg@5"] == pytest.approx((ann + 1.0) / 2)
    # In-request pairs of different levels: Ann 1 of 2, Bob 1 of 1.
    assert result["model/behaviour_auc"] == pytest.approx((0.5 + 1.0) / 2)
    assert result["model/behaviour_auc/n_pairs"] == 3


def test_true_satisfaction_is_judged_among_all_candidates_of_a_request():
    result = evaluated(
        slate(
            "ann", "r1", [0.9, 0.1, 0.2, 0.3, 0.4], truth=[0.0, 1.0, 0.5, 0.5, 0.5], level=[-1] * 5
        ),
        simulated=True,
    )
    # The first four by score: 0, .5, .5, .5; the best one is last.
    assert result["model/true_top4"] == pytest.approx(1.5 / 4)
    assert result["oracle/true_top4"] == pytest.approx(2.5 / 4)
    assert result["oracle/true_ndcg@5"] == pytest.approx(1.0)
    gains = [0.0, 0.5, 0.5, 0.5, 1.0]
    dcg = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))
    ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(gains, reverse=True)))
    assert result["model/true_ndcg@5"] == pytest.approx(dcg / ideal)


def test_true_satisfaction_may_be_negative_and_counts_from_the_worst_candidate_of_its_request():
    shifted = evaluated(slate("ann", "r1", [0.1, 0.9, 0.5], truth=[0.8, -0.2, 0.3]), simulated=True)
    plain = evaluated(slate("ann", "r1", [0.1, 0.9, 0.5], truth=[1.0, 0.0, 0.5]), simulated=True)
    assert shifted["model/true_ndcg@5"] == pytest.approx(plain["model/true_ndcg@5"])
    assert shifted["oracle/true_ndcg@5"] == pytest.approx(1.0)
    assert shifted["model/true_top4"] == pytest.approx(0.3)


def test_without_an_answer_in_the_whole_log_satisfaction_metrics_are_nan_and_nothing_fails():
    result = evaluated(slate("ann", "r1", [0.9, 0.8], level=[1, 0]))
    assert math.isnan(result["model/pair_accuracy"])
    assert result["model/pair_accuracy/n_pairs"] == 0
    assert result["model/behaviour_ndcg@5"] == 1.0


def test_an_empty_slice_gives_every_name_too():
    empty = evaluate(nothing_kept(3), simulated=False, seed=0).values
    full = evaluated(slate("ann", "r1", [0.9, 0.8], level=[1, 0]))
    assert set(empty) == set(full)
    assert empty["data/users"] == 0


def test_names():
    result = evaluated(slate("ann", "r1", [0.9, 0.1], answer=[S, D], truth=[1, 0]), simulated=True)
    for ranker in ranker_names(simulated=True):
        for name in metric_names(simulated=True):
            assert {f"{ranker}/{name}{end}" for end in ("", "/low", "/high", "/n_users")} <= set(
                result
            )


def test_the_random_ranker_depends_on_seed_request_and_item_only():
    items = [b"a", b"b", b"c"]
    scores = candidate_hashes(b"r1", items, seed=1)
    assert ((scores >= 0) & (scores < 1)).all()
    assert candidate_hashes(b"r1", items[::-1], seed=1).tolist() == scores[::-1].tolist()
    assert not np.isin(candidate_hashes(b"r2", items, seed=1), scores).any()
    assert not np.isin(candidate_hashes(b"r1", items, seed=2), scores).any()


def test_the_random_ranker_is_uniform():
    scores = candidate_hashes(b"r1", [str(i).encode() for i in range(4000)], seed=0)
    counts, _ = np.histogram(scores, bins=8, range=(0, 1))
    assert counts.min() > 400
    assert counts.max() < 600


def _world(seed):
    rng = np.random.default_rng(seed)
    slates = []
    for request in range(30):
        n = int(rng.integers(2, 7))
        slates.append(
            slate(
                f"user{rng.integers(8)}",
                f"r{request}",
                rng.normal(size=n),
                popularity=rng.integers(0, 3, size=n).astype(float),
                level=rng.integers(-1, 3, size=n),
                answer=rng.choice([N, N, N, D, U, S], size=n),
            )
        )
    return slates


@given(st.integers(0, 1000), st.permutations(range(30)), st.lists(st.integers(0, 30), max_size=4))
@settings(max_examples=25)
def test_the_result_is_the_same_bit_for_bit_whatever_the_order_and_the_split(seed, order, cuts):
    slates = _world(seed)
    bounds = [0, *sorted(cuts), len(slates)]
    shuffled = [slates[index] for index in order]
    parts = [shuffled[low:high] for low, high in itertools.pairwise(bounds)]
    kept = [reduce_slates(concatenate_slates(part)) if part else nothing_kept(3) for part in parts]
    together = evaluate(reduce_slates(concatenate_slates(slates)), simulated=False, seed=0)
    apart = evaluate(merge(kept), simulated=False, seed=0)
    assert _same(apart.values, together.values)
    assert apart.draws.data == together.draws.data


def _same(one, two):
    return list(one) == list(two) and np.array_equal(
        list(one.values()), list(two.values()), equal_nan=True
    )


def test_a_monotone_change_of_the_scores_changes_nothing():
    slates = _world(5)
    changed = [
        dataclasses.replace(part, scores=np.concatenate([np.exp(part.scores[:1]), part.scores[1:]]))
        for part in slates
    ]
    before, after = evaluated(*slates), evaluated(*changed)
    assert before.pop("model/score_spread") != after.pop("model/score_spread")
    assert _same(before, after)
