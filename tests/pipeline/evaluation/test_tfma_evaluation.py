"""The evaluation as TFMA runs it: examples and models in; metrics, slices and a verdict out."""

import pytest
import tensorflow as tf

from pipeline.evaluation.results import read_evaluation
from pipeline.evaluation.verdict import read_verdict
from tests.pipeline.evaluation_run import evaluate_models
from tests.pipeline.slate_stubs import WIDTH, save_ranker, slate_example

D, U, S = 0, 1, 2
# Ann: one pair, right by quality. Bob: two pairs, one of them right. Cy: no pair.
EXAMPLES = [
    slate_example(
        "r1",
        "ann",
        [0.9, 0.1, 0.5],
        answer=[S, -1, -1],
        behaviour_level=[1, 0, 0],
        popularity=[0.0, 1.0, 2.0],
        true_satisfaction=[1.0, 0.0, 0.0],
        user_train_slates=[7],
    ),
    slate_example("r2", "ann", [0.4, 0.8], answer=[D, -1], user_train_slates=[7]),
    slate_example("r3", "bob", [0.5, 0.7, 0.3], answer=[S, D, D]),
    slate_example("r4", "cy", [0.5, 0.7, 0.1, 0.2, 0.3, 0.4], answer=[S, -1, -1, U, -1, -1]),
]


def run_evaluation(output, models, examples=EXAMPLES, bundles=2):
    evaluate_models(output, models, examples, bundles=bundles)
    return read_evaluation(str(output)), read_verdict(str(output))


@pytest.fixture(scope="module")
def good_model(tmp_path_factory):
    return save_ranker(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def bad_model(tmp_path_factory):
    return save_ranker(tmp_path_factory.mktemp("bad"), sign=-1.0)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, good_model):
    return run_evaluation(tmp_path_factory.mktemp("first"), [good_model])


def test_scores_meet_the_ragged_lists_of_the_example(first_run):
    overall = first_run[0].candidate[()]
    assert WIDTH > 3  # so the model's scores are padded
    assert overall["model/pair_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert overall["model/pair_accuracy/n_pairs"] == 3
    assert overall["data/requests"] == 4
    assert overall["data/candidates"] == 14
    assert overall["data/uncertain"] == 1


def test_all_rankers_are_evaluated_in_the_same_pass(first_run):
    overall = first_run[0].candidate[()]
    # Popularity ties everywhere but in r1, whose pair is with a candidate of equal popularity 0.
    assert overall["popularity/pair_accuracy"] == 0.5
    assert overall["oracle/true_ndcg@5"] == 1.0
    assert 0.0 <= overall["random/pair_accuracy"] <= 1.0
    assert overall["model_over_popularity/pair_accuracy"] == pytest.approx(0.25)


def test_slices_by_the_datasets_features_and_how_often_the_user_was_seen_in_training(first_run):
    slices = first_run[0].candidate
    assert set(slices) == {
        (),
        (("device", "phone"),),
        (("user_activity", "new"),),
        (("user_activity", "5-19"),),
        (("answered_quality", "0.5-1"),),
        (("answered_quality", "0.25-0.5"),),
        (("answered_quality", "0.125-0.25"),),
    }
    assert slices[(("user_activity", "5-19"),)]["model/pair_accuracy"] == 1.0
    assert slices[(("user_activity", "new"),)]["model/pair_accuracy"] == 0.5


def test_a_slate_is_in_the_slices_of_its_answered_candidates(first_run):
    slices = first_run[0].candidate
    requests = {
        key[0][1]: metrics["data/requests"]
        for key, metrics in slices.items()
        if key and key[0][0] == "answered_quality"
    }
    # Answered: 0.9; 0.4; 0.5, 0.7 and 0.3; 0.5 and 0.2.
    assert requests == {"0.5-1": 3, "0.25-0.5": 2, "0.125-0.25": 1}
    # Only Bob has a pair within the slice.
    assert slices[(("answered_quality", "0.25-0.5"),)]["model/pair_accuracy"] == 0.5


def test_a_first_run_has_no_baseline_and_can_be_blessed(tmp_path, good_model):
    # Two users with a pair, both right: better than random whatever the random ranking does.
    examples = [
        slate_example("r1", "ann", [0.9, 0.1, 0.2, 0.3], answer=[S, D, D, D]),
        slate_example("r2", "bob", [0.9, 0.1, 0.2, 0.3], answer=[S, D, D, D]),
    ]
    evaluation, verdict = run_evaluation(tmp_path, [good_model], examples)
    assert evaluation.baseline is None
    assert verdict.first
    assert verdict.blessed
    assert verdict.sentence.startswith(
        "Blessed: pair accuracy +0.500 against the popularity ranking"
    )
    assert "no blessed model before it" in verdict.sentence
    assert verdict.sentence.endswith("(pair accuracy from 2 users, 6 pairs).")


def test_the_split_into_bundles_changes_nothing(first_run, good_model, tmp_path):
    again, _ = run_evaluation(tmp_path, [good_model], examples=EXAMPLES[::-1], bundles=4)
    assert sorted(again.candidate) == sorted(first_run[0].candidate)
    for slice_key, metrics in first_run[0].candidate.items():
        # Bit for bit; as text, because NaN is not equal to itself.
        assert str(again.candidate[slice_key]) == str(metrics)


def test_a_worse_model_than_the_last_blessed_one_is_compared_with_it(
    good_model, bad_model, tmp_path
):
    result, verdict = run_evaluation(tmp_path, [bad_model, good_model])
    assert result.candidate[()]["model/pair_accuracy"] == pytest.approx(0.25)
    assert result.baseline[()]["model/pair_accuracy"] == pytest.approx(0.75)
    # The popularity ranking knows nothing of the model.
    assert result.baseline[()]["popularity/mrr"] == result.candidate[()]["popularity/mrr"]
    assert not verdict.blessed
    assert not verdict.first
    assert (
        # Ann -1, Bob 0.
        "pair accuracy -0.500 against the last blessed model "
        "(95 % -1.000 to +0.000, needed -0.02 or more)" in verdict.sentence
    )


def test_without_pairs_of_answers_there_is_no_evidence_and_no_blessing(good_model, tmp_path):
    evaluation, verdict = run_evaluation(tmp_path, [good_model], EXAMPLES[3:])
    assert evaluation.candidate[()]["model/pair_accuracy/n_pairs"] == 0
    assert not verdict.blessed
    assert verdict.sentence.startswith(
        "Not blessed: pair accuracy could not be compared with the popularity ranking, because "
        "too few users of the eval split have the data for it; "
    )


def test_a_gate_on_behaviour_alone_can_refuse_a_model(good_model, bad_model, tmp_path):
    # Satisfaction and behaviour conflict: the candidate ranks the satisfying one first.
    examples = [
        slate_example(f"r{i}", f"u{i}", [0.1, 0.9], answer=[S, D], behaviour_level=[0, 1])
        for i in range(3)
    ]
    _, verdict = run_evaluation(tmp_path, [bad_model, good_model], examples)
    assert not verdict.blessed
    failed = [check for check in verdict.checks if not check.passed]
    assert [(check.metric, check.against) for check in failed] == [
        ("behaviour NDCG@10", "the last blessed model")
    ]
    assert verdict.sentence.startswith("Not blessed: behaviour NDCG@10 -0.369 against the last")


def test_a_score_that_is_not_a_number_names_model_and_request(tmp_path):
    broken = save_ranker(tmp_path / "model", sign=float("nan"))
    with pytest.raises(Exception, match=r"gave nan for candidate 0 of request b'r\d'.*diverged"):
        run_evaluation(tmp_path / "out", [broken])


def test_a_missing_evaluation_feature_is_named(good_model, tmp_path):

    example = tf.train.Example.FromString(EXAMPLES[0])
    del example.features.feature["popularity"]
    with pytest.raises(Exception, match="no feature popularity; they have "):
        run_evaluation(tmp_path, [good_model], examples=[example.SerializeToString()])
