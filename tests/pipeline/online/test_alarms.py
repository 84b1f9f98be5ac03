"""Which changes of the series are called out."""

import pytest

from pipeline.online.alarms import HISTORY, alarms


def record(ndcg=0.8, score_std=1.0, satisfaction_std=0.5):
    return {
        "rankers": {"model": {"behaviour_ndcg@10": {"mean": ndcg}}},
        "score_std": score_std,
        "satisfaction_std": satisfaction_std,
    }


USUAL = [record(ndcg=0.8 + 0.001 * (place % 2)) for place in range(HISTORY)]


def test_nothing_unusual_raises_nothing():
    assert alarms(record(), USUAL) == []


def test_a_satisfaction_score_that_tells_nothing_apart_is_called_out_at_once():
    (alarm,) = alarms(record(satisfaction_std=0.09), [])
    assert alarm.startswith("ŝ has collapsed: it spreads by 0.09")
    assert alarms(record(satisfaction_std=0.1), []) == []


def test_a_method_without_satisfaction_score_has_none_to_collapse():
    assert alarms(record(satisfaction_std=None), USUAL) == []


@pytest.mark.parametrize(("scale", "raised"), [(0.49, 1), (0.51, 0), (1.99, 0), (2.01, 1)])
def test_the_scale_of_the_score_may_not_halve_or_double(scale, raised):
    found = alarms(record(score_std=scale), USUAL)
    assert len(found) == raised
    assert all("scale of ŷ" in alarm for alarm in found)


def test_drift_is_a_fall_of_the_test_far_below_what_was_usual():
    """The usual values are 0.8005 ± 0.0005; the deviation counts as at least 0.001."""
    assert alarms(record(ndcg=0.797), USUAL) == []
    (alarm,) = alarms(record(ndcg=0.796), USUAL)
    assert alarm.startswith("drift: behaviour NDCG@10 of the span")


def test_too_short_a_history_is_not_judged():
    assert alarms(record(ndcg=0.1, score_std=9.0), USUAL[1:]) == []


def test_a_span_without_the_metric_is_left_out():
    assert alarms(record(ndcg=None), USUAL) == []
    assert alarms(record(ndcg=0.1), [*USUAL[1:], record(ndcg=None)]) == []


@pytest.mark.parametrize(("over", "raised"), [(0, 0), (1, 0), (2, 1)])
def test_a_burst_of_answers_over_the_daily_limit_is_called_out(over, raised):
    answers = {"read": 120, "not_answered": 20, "rejected": {"over_daily_limit": over}}
    found = alarms({**record(), "counts": {"answers": answers}}, [])
    assert len(found) == raised
    assert all("2 of 100 answers were more than a user may give in a day" in one for one in found)
