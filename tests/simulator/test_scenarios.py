"""What the two scenarios claim, measured in default-sized worlds."""

from dataclasses import dataclass

import numpy as np
import pytest

from simulator import SimulatorConfig, World, simulate
from simulator.scenario import SCENARIOS

REACTIONS = ("like", "follow", "comment", "forward")


@dataclass
class Truth:
    """The candidates of all requests of a world under its logging policy: [requests, n]."""

    satisfaction: np.ndarray
    engagement: np.ndarray
    popularity: np.ndarray


@pytest.fixture(scope="module", params=SCENARIOS)
def scenario(request):
    return request.param


@pytest.fixture(scope="module")
def logs(scenario):
    return simulate(SimulatorConfig(scenario=scenario))


@pytest.fixture(scope="module")
def truth():
    found = {}
    for name in SCENARIOS:
        world = World(SimulatorConfig(scenario=name, requests=5_000))
        parts = []
        while world.remaining:
            requests = world.requests(250)
            parts.append(
                (
                    requests.prospects.satisfaction,
                    world.expected_engagement(requests),
                    world.popularity().take(requests.item),
                )
            )
            world.react(requests, world.logging_order(requests))
        found[name] = Truth(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return found


def top4(score, truth):
    """Mean true satisfaction of the four best by a score."""
    best = np.argsort(-score, axis=1)[:, :4]
    return np.take_along_axis(truth.satisfaction, best, axis=1).mean()


def ndcg5(score, truth):
    """NDCG@5 of the true satisfaction, as a gain from 0 to 1."""
    discount = 1 / np.log2(np.arange(2, 7))
    gain = (1 + truth.satisfaction) / 2
    best = np.take_along_axis(gain, np.argsort(-score, axis=1)[:, :5], axis=1)
    return np.mean((best @ discount) / (-np.sort(-gain, axis=1)[:, :5] @ discount))


def test_in_strong_ranking_by_engagement_hurts_satisfaction(truth):
    strong = truth["strong"]
    at_random = strong.satisfaction.mean()
    assert top4(strong.engagement, strong) < at_random - 0.05
    assert top4(strong.satisfaction, strong) > at_random + 0.4
    assert ndcg5(strong.satisfaction, strong) == pytest.approx(1)
    assert ndcg5(strong.engagement, strong) < 0.75


def test_in_mild_engagement_and_satisfaction_mostly_agree(truth):
    mild = truth["mild"]
    at_random, best = mild.satisfaction.mean(), top4(mild.satisfaction, mild)
    gained = (top4(mild.engagement, mild) - at_random) / (best - at_random)
    assert 0.3 < gained < 0.8
    assert 0.8 < ndcg5(mild.engagement, mild) < 0.95


def test_popularity_is_no_proxy_of_satisfaction(truth):
    for world in truth.values():
        reached = top4(world.popularity, world) - world.satisfaction.mean()
        possible = top4(world.satisfaction, world) - world.satisfaction.mean()
        assert reached < 0.6 * possible


def test_answers_suffice_for_a_small_run(logs):
    given = logs.questionnaires["answer"].to_pylist()
    usable = given.count("satisfied") + given.count("dissatisfied")
    assert 1_500 <= usable <= 2_800
    assert given.count("dissatisfied") > 250
    assert given.count("uncertain") > 150


def test_rates_are_those_of_the_config(logs):
    config = SimulatorConfig()
    shown = config.requests * config.exposed
    issued = logs.questionnaires.num_rows
    assert issued / shown == pytest.approx(config.issue_rate, rel=0.1)
    answered = issued - logs.questionnaires["answer"].null_count
    # Satisfied people answer more and the world drifts, so the mean moves a little.
    assert answered / issued == pytest.approx(config.answer_rate, rel=0.1)


def test_reactions_converge_with_answers_as_in_figure_3(logs):
    """EASQ, Fig. 3: like -83 % and follow -85 % given Dissatisfied, +46 % and +80 % given
    Satisfied, against the average view. The direction, and the order of magnitude."""
    impressions = logs.impressions.to_pandas()
    views = impressions[impressions.exposed == 1]
    answered = logs.questionnaires.to_pandas().merge(views, on=["request_id", "user_id", "item_id"])
    for name in REACTIONS:
        mean = views[name].mean()
        satisfied = answered[answered.answer == "satisfied"][name].mean() / mean - 1
        dissatisfied = answered[answered.answer == "dissatisfied"][name].mean() / mean - 1
        assert 0.3 < satisfied < 1.5
        assert -1 <= dissatisfied < -0.1
    like = answered[answered.answer == "dissatisfied"]["like"].mean() / views["like"].mean() - 1
    assert like < -0.4


def test_answers_tell_the_truth_on_the_whole(logs):
    answered = logs.questionnaires.to_pandas().merge(
        logs.impressions.to_pandas(), on=["request_id", "user_id", "item_id"]
    )
    mean = answered.groupby("answer")["true_satisfaction"].mean()
    assert mean["satisfied"] > 0.4
    assert mean["dissatisfied"] < -0.1
    assert mean["dissatisfied"] < mean["uncertain"] < mean["satisfied"]


def test_dissatisfied_people_answer_less(logs):
    asked = logs.questionnaires.to_pandas().merge(
        logs.impressions.to_pandas(), on=["request_id", "user_id", "item_id"]
    )
    content = asked["true_satisfaction"] > 0.5
    discontent = asked["true_satisfaction"] < -0.3
    rate = asked["answer"].notna()
    assert rate[content].mean() > 1.2 * rate[discontent].mean()


def test_some_answers_are_days_late(logs):
    answered = logs.questionnaires.to_pandas().dropna()
    delay_hours = (answered.answered_ms - answered.issued_ms) / 3_600_000
    assert (delay_hours > 0).all()
    assert 0.85 < (delay_hours < 0.1).mean() < 0.95
    assert 0.015 < (delay_hours > 24).mean() < 0.045
    assert delay_hours.max() < 9 * 24


def test_the_paper_setting_asks_and_answers_rarely(scenario):
    logs = simulate(SimulatorConfig.paper(scenario=scenario, requests=60_000))
    shown = logs.impressions.num_rows * 7 / 12
    issued = logs.questionnaires.num_rows
    assert issued / shown == pytest.approx(0.005, rel=0.1)
    assert (issued - logs.questionnaires["answer"].null_count) / issued < 0.035
