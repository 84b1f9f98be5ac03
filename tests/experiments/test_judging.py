"""What the metrics say of two requests of one user, by hand."""

import numpy as np
import pytest

from experiments.judging import judge, ranker_scores
from experiments.slate_arrays import Judged

NAN = np.nan


def judged(**changes):
    """Two requests of width 6, of 6 and of 5 candidates; one user; the first three are shown."""
    level = np.array([[2, 0, 1, -1, -1, -1], [0, 1, 0, -1, -1, -1]], np.int8)
    answer = np.full((2, 6), -1, np.int8)
    answer[0, 0], answer[1, 0] = 2, 0
    truth = np.array([[0.9, 0.1, 0.3, 0.5, 0.7, -0.1], [0.2, 0.4, 0.6, 0.8, 0.0, NAN]], np.float32)
    values = {
        "user": np.array([7, 7], np.uint64),
        "request": np.array([1, 2], np.uint64),
        "size": np.array([6, 5]),
        "level": level,
        "answer": answer,
        "popularity": np.where(np.isnan(truth), NAN, 1.0).astype(np.float32),
        "tie_break": np.where(np.isnan(truth), NAN, np.arange(12.0).reshape(2, 6)),
        "true_satisfaction": truth,
        "engagement": np.where(np.isnan(truth), NAN, 1 - truth),
    }
    return Judged(**{**values, **changes})


def of(table, name):
    return table.values[0, table.names.index(name)]


def test_the_oracle_takes_the_four_most_satisfying_and_pays_for_it():
    """Top fours .9 .7 .5 .3 and .8 .6 .4 .2: mean satisfaction .55, engagement .45."""
    known = judged()
    table = judge(known, ranker_scores("Oracle", known))

    assert of(table, "true_top4") == pytest.approx(0.55)
    assert of(table, "engagement") == pytest.approx(0.45)
    assert of(table, "true_ndcg@5") == pytest.approx(1.0)
    assert of(table, "pair_accuracy") == 1.0


def test_what_stands_on_padding_does_not_count():
    known = judged()
    scores = np.nan_to_num(known.true_satisfaction, nan=1e9)

    assert of(judge(known, scores), "true_top4") == pytest.approx(0.55)


def test_a_model_that_diverged_is_refused():
    known = judged()
    scores = np.full((2, 6), NAN)

    with pytest.raises(ValueError, match="11 of 11 scores are not finite"):
        judge(known, scores)


def test_a_log_without_truth_has_no_oracle_and_no_true_metrics():
    unknown = np.full((2, 6), NAN, np.float32)
    known = judged(true_satisfaction=unknown, engagement=unknown)

    assert ranker_scores("Oracle", known) is None
    names = judge(known, ranker_scores("Random", known)).names
    assert "satisfied_auc" in names
    assert not any(name.startswith("true") or name == "engagement" for name in names)


def test_means_are_over_users_that_have_the_metric():
    known = judged(answer=np.full((2, 6), -1, np.int8))
    table = judge(known, ranker_scores("Oracle", known))

    assert table.means()["pair_accuracy"] is None
    assert table.n_users()["pair_accuracy"] == 0
    assert table.means()["true_top4"] == pytest.approx(0.55)
