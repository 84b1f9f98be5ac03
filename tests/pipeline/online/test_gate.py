"""The gate on slates written by hand: what it refuses, what it lets through, and why."""

import numpy as np
import pytest

from pipeline.evaluation.slate_extractor import SlateRecord
from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED
from pipeline.logs.checked import ConfigError
from pipeline.online.gate import Compared, judge, nothing_learnt
from pipeline.online.settings import OnlineGateSettings, OnlineSettings

UP, DOWN = np.array([2.0, 1.0]), np.array([1.0, 2.0])


def slate(user, level=(1, 0), answer=(NOT_ANSWERED, NOT_ANSWERED)):
    """Two candidates; the first one has the better behaviour, unless said otherwise."""
    return SlateRecord(
        request_id=f"r{user}".encode(),
        user=user,
        request=user,
        random=np.array([0.1, 0.2]),
        popularity=np.zeros(2),
        level=np.array(level),
        answer=np.array(answer),
        true_satisfaction=np.full(2, np.nan),
    )


def asked(user):
    """A slate whose first candidate satisfied, and whose second did not."""
    return slate(user, answer=(SATISFIED, DISSATISFIED))


def decide(behaviour, answers, **settings):
    limits = OnlineGateSettings(**{"min_pairs": 4, **settings})
    return judge(
        behaviour, answers, primary="pair_accuracy", simulated=False, settings=limits, seed=0
    )


def compared(records, candidate, blessed, best=None):
    """Each model scores every slate alike, or is a list of a score a slate."""
    models = [model for model in (candidate, blessed, best) if model is not None]
    scores = [model if isinstance(model, list) else [model] * len(records) for model in models]
    return Compared(records, *scores)


USERS = range(8)
SEEN = [slate(user) for user in USERS]
ANSWERED = [asked(user) for user in USERS]


def test_an_equal_model_is_blessed_with_both_differences_in_the_sentence():
    verdict = decide(compared(SEEN, UP, UP), compared(ANSWERED, UP, UP))
    assert verdict.blessed
    assert verdict.sentence == (
        "Blessed: pair accuracy +0.000 against the last blessed model (95 % +0.000 to +0.000, "
        "upper end needed +0 or more); behaviour NDCG@10 +0.000 against the last blessed model "
        "(95 % +0.000 to +0.000, needed -0.02 or more) (8 held-out users, 8 pairs of answers)."
    )


def test_satisfaction_that_is_worse_beyond_doubt_is_refused():
    verdict = decide(compared(SEEN, UP, UP), compared(ANSWERED, DOWN, UP))
    assert not verdict.blessed
    assert verdict.sentence.startswith("Not blessed: pair accuracy -1.000")
    assert "behaviour" not in verdict.sentence


def test_satisfaction_that_is_worse_by_luck_is_let_through():
    """Three users got worse, two better: the interval holds 0, a bare threshold would refuse."""
    candidate = [DOWN] * 3 + [UP] * 2 + [UP] * 3
    blessed = [UP] * 3 + [DOWN] * 2 + [UP] * 3
    verdict = decide(compared(SEEN, UP, UP), compared(ANSWERED, candidate, blessed))
    (satisfaction, _) = verdict.checks
    assert satisfaction.difference == pytest.approx(-1 / 8)
    assert satisfaction.low < 0 < satisfaction.high
    assert verdict.blessed


def test_a_limit_allows_a_loss_that_is_sure():
    candidate = [DOWN] * 2 + [UP] * 6
    answers = compared(ANSWERED, candidate, UP)
    assert decide(compared(SEEN, UP, UP), answers, satisfaction_loss=0.6).blessed


def test_too_few_pairs_leave_the_decision_to_behaviour():
    answers = compared(ANSWERED[:3], DOWN, UP)
    verdict = decide(compared(SEEN, UP, UP), answers)
    assert verdict.blessed
    assert "pair accuracy was not judged, as 4 pairs of answers are needed" in verdict.sentence
    assert verdict.pairs == 3


def test_one_user_says_nothing_about_others():
    many = [asked(1) for _ in range(6)]
    assert decide(compared(SEEN, UP, UP), compared(many, DOWN, UP)).blessed


@pytest.mark.parametrize(("loss", "blessed"), [(0.36, False), (0.38, True)])
def test_behaviour_may_fall_by_the_stated_loss_and_no_more(loss, blessed):
    """The better candidate second of two: NDCG falls from 1 to 1/log2(3) = 0.6309."""
    verdict = decide(compared(SEEN, DOWN, UP), compared(ANSWERED, UP, UP), behaviour_loss=loss)
    assert verdict.blessed == blessed
    assert f"behaviour NDCG@10 {1 / np.log2(3) - 1:+.3f}" in verdict.sentence


def test_a_slow_slide_is_stopped_by_the_best_model_so_far():
    """Each model ranks one user of eight worse than the one before it: NDCG falls by 0.046 each.

    Every single step is within the limit of .05, and two of them are within that of the slide.
    """
    ranked = [[DOWN] * worse + [UP] * (8 - worse) for worse in range(4)]
    limits = {"behaviour_loss": 0.05, "behaviour_slide": 0.1}
    verdicts = [
        decide(
            compared(SEEN, ranked[worse], ranked[worse - 1], ranked[0]),
            compared(ANSWERED, UP, UP, UP),
            **limits,
        )
        for worse in (1, 2, 3)
    ]
    assert [verdict.blessed for verdict in verdicts] == [True, True, False]
    assert not any(verdict.best for verdict in verdicts)
    loss = 3 / 8 * (1 / np.log2(3) - 1)
    assert f"NDCG@10 {loss:+.3f} against the best model so far" in verdicts[2].sentence


def test_satisfaction_that_slid_beyond_doubt_is_stopped_too():
    """Half a pair of answers lost since the last model may be luck, all since the best may not."""
    blessed = [UP] * 3 + [DOWN] * 5
    candidate = [DOWN] * 4 + [UP] * 1 + [DOWN] * 3
    answers = compared(ANSWERED, candidate, blessed, UP)
    verdict = decide(compared(SEEN, UP, UP, UP), answers)
    assert not verdict.blessed
    assert verdict.sentence.startswith("Not blessed: pair accuracy -0.875 against the best model")


@pytest.mark.parametrize(
    ("candidate", "best", "is_best"),
    [(UP, UP, True), (UP, DOWN, True), ([DOWN] + [UP] * 7, UP, False), (UP, None, True)],
)
def test_a_model_is_the_best_so_far_if_it_lies_below_it_in_neither_metric(candidate, best, is_best):
    behaviour = compared(SEEN, UP, UP, None if best is None else UP)
    verdict = decide(behaviour, compared(ANSWERED, candidate, UP, best))
    assert (verdict.blessed, verdict.best) == (True, is_best)


def test_answers_do_not_leak_into_the_behaviour_side_nor_the_other_way_round():
    """Slates of late answers are no slates of the window: only their answers count."""
    verdict = decide(compared([slate(99)], UP, UP), compared(ANSWERED, UP, UP))
    assert verdict.users == 1
    assert verdict.pairs == 8


def test_scores_that_are_no_numbers_are_refused_and_must_not_learn_on():
    broken = np.array([np.nan, 1.0])
    verdict = decide(compared(SEEN, broken, UP), compared([], UP, UP))
    assert (verdict.blessed, verdict.diverged) == (False, True)
    assert verdict.sentence == (
        "Not blessed: its scores are not finite numbers, training has diverged "
        "(lower trainer.model.learning_rate)."
    )


def test_one_score_for_all_is_refused():
    verdict = decide(compared(SEEN, np.zeros(2), UP), compared([], UP, UP))
    assert (verdict.blessed, verdict.diverged) == (False, False)
    assert "it gives the candidates of a slate the same score" in verdict.sentence
    assert "lower trainer.model.learning_rate" in verdict.sentence


def test_one_score_a_user_is_refused_too():
    of_user = [np.full(2, float(user)) for user in USERS]
    verdict = decide(compared(SEEN, of_user, UP), compared([], UP, UP))
    assert not verdict.blessed
    assert "the same score" in verdict.sentence


def test_scores_that_exploded_are_refused_and_must_not_learn_on_however_well_they_rank():
    verdict = decide(compared(SEEN, UP * 1e5, UP), compared(ANSWERED, UP * 1e5, UP))
    assert (verdict.blessed, verdict.diverged) == (False, True)
    assert verdict.sentence == (
        "Not blessed: its scores spread by 5e+04 within a slate, they have exploded "
        "(lower trainer.model.learning_rate)."
    )


def test_behaviour_that_pays_too_much_names_the_price():
    verdict = decide(compared(SEEN, DOWN, UP), compared(ANSWERED, UP, UP))
    assert not verdict.blessed
    assert verdict.sentence.endswith("lower trainer.model.lambda_dpo, where there is one.")


def test_a_ranking_by_chance_is_refused_beside_a_trained_model():
    rng = np.random.default_rng(0)
    chance = [rng.permutation(UP) for _ in range(40)]
    seen, answered = [slate(user) for user in range(40)], [asked(user) for user in range(40)]
    verdict = decide(compared(seen, chance, UP), compared(answered, chance, UP))
    assert not verdict.blessed
    assert [check.passed for check in verdict.checks] == [False, False]


def test_a_ranking_against_the_answers_says_where_to_look():
    verdict = decide(compared(SEEN, UP, UP), compared(ANSWERED, DOWN, UP))
    assert not verdict.blessed
    assert "look at who answered, and for a burst of answers" in verdict.sentence


def test_without_held_out_slates_there_is_nothing_to_compare_on():
    verdict = decide(compared([], UP, UP), compared([], UP, UP))
    assert verdict.blessed
    assert "no held-out user" in verdict.sentence


def test_a_model_that_learnt_nothing_is_not_pushed():
    assert not nothing_learnt().blessed


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(ConfigError, match="min_pairs"):
        OnlineGateSettings(min_pairs=0)
    with pytest.raises(ConfigError, match="keep_spans"):
        OnlineSettings(keep_spans=3)
    with pytest.raises(ConfigError, match="holdout"):
        OnlineSettings(holdout=1.0)
