"""Test, then train: which slates count for what."""

import numpy as np
import pytest

from pipeline.evaluation.slate_extractor import SlateRecord
from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED
from pipeline.online.prequential import load_kept, prequential_values, save_kept, test_span
from pipeline.online.slates import SplitSlates, joined, kept_of, spread

test_span.__test__ = False  # a function of the pipeline, not a test

WIDTH = 3


def split(*slates):
    """A split of slates `(user, levels, answers)`."""
    records = [
        SlateRecord(
            request_id=b"r%d" % place,
            user=user,
            request=place,
            random=np.linspace(0.1, 0.2, len(levels)),
            popularity=np.zeros(len(levels)),
            level=np.array(levels),
            answer=np.array(answers),
            true_satisfaction=np.full(len(levels), np.nan),
        )
        for place, (user, levels, answers) in enumerate(slates)
    ]
    none = {"x": np.zeros((len(records), WIDTH))}
    return SplitSlates([b""] * len(records), records, np.arange(len(records)), none)


def scored(slates, *rows, satisfaction=None):
    scores = {"score": np.array(rows, np.float32).reshape(-1, WIDTH)}
    if satisfaction is not None:
        scores["satisfaction"] = np.array(satisfaction, np.float32).reshape(-1, WIDTH)
    return slates, scores


NONE = [NOT_ANSWERED] * 2
BOTH = [SATISFIED, DISSATISFIED]


def values(dense, answered, window=()):
    tested = test_span(dense, answered, simulated=False)
    found = prequential_values(tested.behaviour, [*window, tested.answers], simulated=False, seed=0)
    return tested, found["model"]


def test_behaviour_is_of_all_slates_and_answers_of_the_answered_ones():
    """The first user's slate is ranked right, the second one's wrong: NDCG 1 and 1/log2(3)."""
    dense = scored(split((1, [1, 0], BOTH), (2, [1, 0], NONE)), [2, 1, 9], [1, 2, 9])
    answered = scored(split((3, [0, 1], BOTH)), [5, 4, 0])
    _, model = values([dense], [answered])
    assert model["behaviour_ndcg@10"]["mean"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert model["behaviour_ndcg@10"]["n_users"] == 2
    assert (model["pair_accuracy"]["mean"], model["pair_accuracy"]["n_pairs"]) == (1, 1)


def test_an_answer_that_lies_in_a_dense_slate_is_not_counted_a_second_time():
    slates = split((1, [1, 0], BOTH))
    _, model = values([scored(slates, [1, 2, 0])], [scored(slates, [1, 2, 0])])
    assert model["pair_accuracy"]["n_pairs"] == 1
    assert model["pair_accuracy"]["mean"] == 0


def test_answers_are_averaged_over_the_window():
    slates = split((1, [1, 0], BOTH))
    earlier = test_span([], [scored(split((2, [1, 0], BOTH)), [2, 1, 0])], simulated=False)
    _, model = values([scored(slates, [1, 2, 0])], [scored(slates, [1, 2, 0])], [earlier.answers])
    assert (model["pair_accuracy"]["mean"], model["pair_accuracy"]["n_users"]) == (0.5, 2)


def test_a_span_without_answers_has_none_and_its_metric_is_unknown():
    _, model = values([scored(split((1, [1, 0], NONE)), [2, 1, 0])], [])
    assert np.isnan(model["pair_accuracy"]["mean"])


def test_the_spread_is_around_each_slates_mean_and_leaves_padding_out():
    """Scores 1 and 3 around 2, 11 and 13 around 12: a deviation of 1, whatever the padding."""
    slates = split((1, [1, 0], NONE), (2, [1, 0], NONE))
    rows = np.array([[1, 3, 99], [11, 13, -99]], np.float32)
    assert spread(slates, rows) == pytest.approx(1.0)
    tested = test_span([scored(slates, *rows, satisfaction=rows / 2)], [], simulated=False)
    assert (tested.score_std, tested.satisfaction_std) == pytest.approx((1.0, 0.5))


def test_a_method_without_satisfaction_score_has_no_spread_of_it():
    tested = test_span([scored(split((1, [1, 0], NONE)), [1, 3, 0])], [], simulated=False)
    assert np.isnan(tested.satisfaction_std)


def test_an_anchor_is_the_last_slate_of_its_group():
    slates = split(*[(user, [1, 0], BOTH) for user in (1, 2, 3)])
    grouped = SplitSlates(slates.examples, slates.records, np.array([7, 7, 8]), slates.features)
    assert [record.user for record in grouped.anchors.records] == [2, 3]
    assert split().anchors.records == []


def test_splits_are_joined_in_order():
    both = joined([split((1, [1, 0], NONE)), split((2, [1, 0], BOTH))])
    assert [record.user for record in both.records] == [1, 2]
    assert both.features["x"].shape == (2, WIDTH)
    assert both.has_answer.tolist() == [False, True]


def test_what_is_kept_is_read_as_it_was_written(tmp_path):
    slates = split((1, [1, 0], BOTH))
    kept = kept_of(zip(slates.records, [np.ones((3, 2))], strict=True), 3, with_answers=True)
    save_kept(tmp_path / "kept.npz", kept)
    found = load_kept(tmp_path / "kept.npz")
    for name, value in vars(kept).items():
        np.testing.assert_array_equal(getattr(found, name), value)
