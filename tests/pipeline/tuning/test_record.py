"""The score of a trial, and what is said of the best one, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.configs import TuningSettings
from pipeline.tuning.bench import TrialResult, mean, trial_score
from pipeline.tuning.record import tuning_record
from pipeline.tuning.space import SearchSpace, Tunable
from pipeline.tuning.validation import Judgement

NAN = float("nan")
LIMIT = 0.02
SPACE = SearchSpace(Tunable("lambda_dpo", 0.5, low=0.1, high=3.0), ())


def result(primary, behaviour=0.8):
    drop = 0.8 - behaviour
    values = np.array(primary)
    return TrialResult(
        values={"lambda_dpo": 0.5},
        judgement=Judgement(values, np.full(len(values), behaviour), NAN),
        behaviour_drop=drop,
        score=trial_score(mean(values), drop, LIMIT),
        seconds=2.0,
    )


class ValidationStub:
    pairs = 9

    def __len__(self):
        return 20


def record(*results):
    reference = Judgement(np.array([0.5]), np.array([0.8]), NAN)
    bench = SimpleNamespace(
        space=SPACE,
        models=1,
        training_slates=80,
        validation=ValidationStub(),
        reference=reference,
        seconds=61.0,
    )
    return tuning_record(
        bench, results, method="EASQ", tuning=TuningSettings(trials=2), primary="pair_accuracy"
    )


def test_within_the_limit_the_metric_counts_and_beyond_it_the_excess():
    assert trial_score(0.7, 0.02, LIMIT) == 0.7
    assert trial_score(0.7, -0.5, LIMIT) == 0.7
    assert trial_score(0.9, 0.05, LIMIT) == pytest.approx(-0.03)
    assert trial_score(NAN, 0.0, LIMIT) == trial_score(0.7, NAN, LIMIT) == -1.0


@pytest.mark.parametrize(("drop", "primary"), [(0.021, 1.0), (1.0, 1.0)])
def test_any_trial_within_the_limit_is_better_than_any_beyond(drop, primary):
    assert trial_score(0.0, 0.02, LIMIT) > trial_score(primary, drop, LIMIT) > -1.0


def test_each_trial_is_told_with_its_interval_and_its_gain_over_the_first():
    told = record(result([0.5, 0.5, NAN]), result([0.7, 0.9, NAN]))
    first, second = told["trials"]
    assert first["metric"]["mean"] == 0.5
    assert first["over_configured"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert second["over_configured"]["mean"] == pytest.approx(0.3)
    # Two users: a draw is (.2, .2), (.4, .4) or one of each.
    assert second["over_configured"]["low"] == pytest.approx(0.2)
    assert second["over_configured"]["high"] == pytest.approx(0.4)
    assert told["budget"]["validation_users"] == 2
    assert told["chosen"] == 1
    assert told["sentence"].startswith(
        "Trial 2 was chosen: +0.300 over the configured settings (95 % +0.200 to +0.400, 2 users)"
    )
    assert "flatters itself" in told["sentence"]


def test_a_gain_within_its_interval_may_be_chance_and_the_users_needed_are_told():
    told = record(result([0.5] * 4), result([0.9, 0.1, 0.9, 0.3]))
    sentence = told["sentence"]
    # The gains .4, −.4, .4, −.2 average .05.
    assert "+0.050 over" in sentence
    assert "which may be chance; about" in sentence
    assert "users would tell" in sentence


def test_the_configured_settings_stay_where_nothing_was_better():
    assert record(result([0.6]), result([0.5]))["sentence"].endswith("they stay.")


def test_where_no_trial_keeps_the_limit_the_closest_is_chosen():
    told = record(result([0.6], behaviour=0.7), result([0.5], behaviour=0.75))
    assert told["chosen"] == 1
    assert told["trials"][1]["within_limit"] is False
    assert told["sentence"].startswith("No trial kept within the limit of 0.02")
