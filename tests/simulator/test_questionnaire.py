"""Who is asked, who answers, and what: hand-made views, then rates in their binomial bounds."""

import numpy as np
import pytest

from simulator import SimulatorConfig, SimulatorConfigError
from simulator.config import DAY_MS
from simulator.questionnaire import NO_ANSWER, Survey, meets_trigger

CERTAIN, NEVER = 1e-6, 1 - 1e-6  # luck that lets everything, or nothing rare, happen


@pytest.mark.parametrize(
    ("played_ms", "duration_ms", "asked"),
    [
        (7_000, 60_000, True),
        (6_999, 60_000, False),
        (2_000, 4_000, True),
        (1_999, 4_000, False),
        (2_000, 3_999, True),
        (0, 10_000, False),
    ],
)
def test_the_trigger_is_seven_seconds_or_half(played_ms, duration_ms, asked):
    assert meets_trigger(np.array([played_ms]), np.array([duration_ms]))[0] == asked


def survey(satisfaction=None, triggered=None, **values):
    if satisfaction is None:
        satisfaction = np.zeros((10, 10), np.float32)
    if triggered is None:
        triggered = np.ones(satisfaction.shape, bool)
    return Survey(SimulatorConfig(**values), triggered, satisfaction)


def ask(survey, *, played_ms, duration_ms, satisfaction, luck, time_ms=0):
    """One request whose shown videos all share a luck: issue, answer, noise, delay kind, delay."""
    shown = len(played_ms)
    return survey.ask(
        np.array([time_ms]),
        np.array([played_ms], np.int32),
        np.array([duration_ms], np.int32),
        np.array([satisfaction], np.float32),
        [np.full((1, shown), value, np.float32) for value in luck],
    )


def test_only_triggered_views_are_asked_about_at_the_moment_of_the_trigger():
    asked = ask(
        survey(),
        time_ms=1_000_000,
        played_ms=[500, 8_000, 3_000, 9_000],
        duration_ms=[10_000, 60_000, 5_000, 10_001],
        satisfaction=[0, 0, 0, 0],
        luck=[CERTAIN, NEVER, 0.5, 0.5, 0.5],
    )
    assert asked.row.tolist() == [0, 0, 0]
    assert asked.position.tolist() == [1, 2, 3]
    # After what was played before: 7 s, half of 5 s, half (rounded up) of 10.001 s.
    assert asked.issued_ms.tolist() == [1_007_500, 1_011_000, 1_016_501]
    assert asked.answer.tolist() == [NO_ANSWER] * 3
    assert asked.answered_ms.tolist() == [NO_ANSWER] * 3


def test_the_answer_is_the_felt_satisfaction_with_an_uncertain_band():
    # Luck .5 is no noise, luck .75 adds .2·ln 3 = .22.
    def answers(noise_luck):
        return ask(
            survey(answer_noise=0.2, uncertain_band=0.15),
            played_ms=[7_000] * 5,
            duration_ms=[60_000] * 5,
            satisfaction=[-0.9, -0.16, -0.1, 0.14, 0.16],
            luck=[CERTAIN, CERTAIN, noise_luck, 0.5, 0.5],
        ).answer.tolist()

    assert answers(0.5) == [0, 0, 1, 1, 2]
    assert answers(0.75) == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("kind", "luck", "delay_ms"),
    [
        (0.5, np.exp(-2), 16_000),
        (0.95, 0.5, (10 * 60_000 + 6 * 3_600_000) / 2),
        (0.99, 0.25, 3 * DAY_MS),
    ],
)
def test_answers_come_at_once_the_same_day_or_days_later(kind, luck, delay_ms):
    asked = ask(
        survey(),
        played_ms=[7_000],
        duration_ms=[60_000],
        satisfaction=[0.9],
        luck=[CERTAIN, CERTAIN, 0.5, kind, luck],
    )
    assert asked.answered_ms[0] - asked.issued_ms[0] == pytest.approx(delay_ms, rel=1e-4, abs=2)


def test_an_answer_comes_after_its_question():
    asked = ask(
        survey(),
        played_ms=[7_000],
        duration_ms=[60_000],
        satisfaction=[0.9],
        luck=[CERTAIN, CERTAIN, 0.5, 0.5, 1 - 2**-24],
    )
    assert asked.answered_ms[0] > asked.issued_ms[0]


def many(config, satisfaction, triggered_share=0.6, n=200_000):
    """Views of one satisfaction, a share of them triggered; their questionnaires."""
    random = np.random.default_rng(1)
    triggered = random.random((n // 10, 10)) < triggered_share
    truth = np.full(triggered.shape, satisfaction, np.float32)
    calibrated_on = random.uniform(-1, 1, triggered.shape).astype(np.float32)
    asked = Survey(config, triggered, calibrated_on).ask(
        np.zeros(len(triggered), np.int64),
        np.where(triggered, 7_000, 0).astype(np.int32),
        np.full(triggered.shape, 60_000, np.int32),
        truth,
        [random.random(triggered.shape, dtype=np.float32) for _ in range(5)],
    )
    return asked, triggered


def within_binomial_bounds(successes, trials, p):
    return abs(successes - trials * p) < 4 * np.sqrt(trials * p * (1 - p))


def test_issue_rate_holds_over_all_views():
    config = SimulatorConfig(issue_rate=0.05)
    asked, triggered = many(config, 0.0)
    assert within_binomial_bounds(len(asked.row), triggered.size, 0.05)


def test_satisfied_people_answer_more_by_the_bias():
    config = SimulatorConfig(issue_rate=0.5, answer_rate=0.2, answer_bias=0.8)
    rates = {}
    for truth in (-1.0, 0.0, 1.0):
        asked, _ = many(config, truth)
        rates[truth] = np.mean(asked.answer != NO_ANSWER)
    log_odds = {truth: np.log(rate / (1 - rate)) for truth, rate in rates.items()}
    assert log_odds[1.0] - log_odds[0.0] == pytest.approx(0.8, abs=0.05)
    assert log_odds[0.0] - log_odds[-1.0] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("rate", [0.018, 0.17, 0.9])
@pytest.mark.parametrize("truth", [-0.8, 0.8])
def test_without_bias_everybody_answers_at_the_rate(rate, truth):
    config = SimulatorConfig(issue_rate=0.5, answer_rate=rate, answer_bias=0)
    asked, _ = many(config, truth)
    answers = np.count_nonzero(asked.answer != NO_ANSWER)
    assert within_binomial_bounds(answers, len(asked.answer), rate)


def test_more_questionnaires_than_triggered_views_are_refused():
    triggered = np.zeros((10, 10), bool)
    triggered[:3] = True
    with pytest.raises(SimulatorConfigError, match=r"issue_rate is 0.4; expected at most 0.30"):
        survey(triggered=triggered, issue_rate=0.4)
