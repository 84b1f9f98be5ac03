"""The equations, on one person and videos made for the purpose."""

import numpy as np
import pytest

from simulator.audience import Audience
from simulator.behaviour import REACTIONS, Behaviour, Prospects, predictions, sigmoid
from simulator.catalogue import Catalogue
from simulator.scenario import SCENARIOS

LIKED, HATED = 0, 1  # topics
EVENING = np.zeros(1, np.float32)


def one_person(**habits):
    interests = np.zeros((1, 20), np.float32)
    interests[0, LIKED], interests[0, HATED] = 0.5, -0.5

    def constant(name):
        return np.array([habits.get(name, 0)], np.float32)

    return Audience(
        taste=interests,
        interests=interests,
        activity=np.ones(1, np.float32),
        mood=np.zeros(1, np.float32),
        click_habit=constant("click_habit"),
        watch_habit=constant("watch_habit"),
        react_habit=constant("react_habit"),
        leniency=constant("leniency"),
        age_group=np.zeros(1, np.int32),
        favourite=np.zeros(1, np.int32),
        registered_days=np.ones(1, np.int32),
    )


def videos(**columns):
    """A catalogue from columns; a plain 20 s video of the liked topic where nothing is said."""
    n = max(len(values) for values in columns.values())

    def column(name, default, dtype):
        return np.array(columns.get(name, [default] * n), dtype)

    return Catalogue(
        author=column("author", 0, np.int32),
        topic=column("topic", LIKED, np.int32),
        style=column("style", 0, np.int32),
        clickbait=column("clickbait", 0, np.float32),
        quality=column("quality", 0, np.float32),
        appeal=column("appeal", 0, np.float32),
        duration_ms=column("duration_ms", 20_000, np.int32),
        upload_ms=column("upload_ms", 0, np.int64),
        lifetime_ms=1,
    )


def outlook(scenario="mild", habits=None, **columns):
    """Behaviour, candidates and prospects of one person who is offered all of these videos."""
    catalogue = videos(**columns)
    behaviour = Behaviour(SCENARIOS[scenario], catalogue, one_person(**(habits or {})))
    user, item = np.array([0], np.int32), np.arange(len(catalogue.topic))[None, :]
    prospects = behaviour.prospects(user, item, behaviour.affinity(user, item), EVENING)
    return behaviour, user, item, prospects


@pytest.mark.parametrize("name", SCENARIOS)
def test_satisfaction_is_the_squashed_utility(name):
    scenario = SCENARIOS[name]
    _, _, _, prospects = outlook(
        name,
        {"leniency": 0.1},
        topic=[LIKED, HATED],
        quality=[2.0, -1.0],
        clickbait=[0.0, 0.5],
    )
    expected = [
        np.tanh(
            scenario.affinity_utility * affinity
            + scenario.quality_utility * quality
            - scenario.regret * clickbait
            + 0.1
            + scenario.base_utility
        )
        for affinity, quality, clickbait in ((0.5, 2.0, 0.0), (-0.5, -1.0, 0.5))
    ]
    np.testing.assert_allclose(prospects.satisfaction[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_watch_time_falls_and_satisfaction_rises_with_quality(name):
    _, _, _, prospects = outlook(name, quality=np.linspace(-3, 3, 7))
    assert (np.diff(prospects.watch[0]) < 0).all()
    assert (np.diff(prospects.satisfaction[0]) > 0).all()
    assert (prospects.click[0] == prospects.click[0, 0]).all()


def test_the_strong_scenario_watches_as_published():
    """RecSim NG: the watched share is sigmoid(-quality), one in log-odds for one of quality."""
    _, _, _, prospects = outlook("strong", quality=[0.0, 1.0])
    assert prospects.watch[0, 0] - prospects.watch[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_clickbait_is_clicked_watched_and_regretted(name):
    _, _, _, prospects = outlook(name, clickbait=[0.0, 1.0])
    assert prospects.click[0, 1] > prospects.click[0, 0]
    assert prospects.watch[0, 1] > prospects.watch[0, 0]
    assert prospects.satisfaction[0, 1] < prospects.satisfaction[0, 0]


@pytest.mark.parametrize("name", SCENARIOS)
def test_affinity_raises_everything(name):
    _, _, _, prospects = outlook(name, topic=[HATED, LIKED])
    np.testing.assert_allclose(prospects.affinity[0], [-0.5, 0.5])
    for values in (prospects.click, prospects.watch, prospects.satisfaction):
        assert values[0, 1] > values[0, 0]


def test_every_reaction_rises_with_satisfaction_alone():
    behaviour, user, item, prospects = outlook(quality=[-2.0, 2.0])
    for name, reaction in REACTIONS.items():
        logit = behaviour.reaction_logit(name, user, item, prospects)
        gain = np.diff(prospects.satisfaction[0])[0]
        assert np.diff(logit[0])[0] == pytest.approx(reaction.slope * gain, rel=1e-4)


def test_habits_move_their_behaviour_and_not_the_satisfaction():
    _, _, _, plain = outlook(quality=[0.0])
    _, _, _, eager = outlook(habits={"click_habit": 1, "watch_habit": 2}, quality=[0.0])
    assert eager.click[0, 0] - plain.click[0, 0] == pytest.approx(1)
    assert eager.watch[0, 0] - plain.watch[0, 0] == pytest.approx(2)
    assert eager.satisfaction == plain.satisfaction


def test_played_time_of_a_click_and_of_a_glimpse():
    behaviour, *_ = outlook(quality=[0.0])
    duration = np.array([[20_000, 20_000, 1_000, 20_000]], np.int32)
    played = behaviour.played_ms(
        np.array([[True, False, False, True]]),
        np.array([[0.0, 0.0, 0.0, 9.0]], np.float32),
        duration,
        np.array([[0.5, np.exp(-2), np.exp(-2), 0.5]], np.float32),
    )
    # 1.15·σ(0) of 20 s; twice the mean glimpse of 1.2 s; the same cut at 1 s; all of it.
    np.testing.assert_allclose(played[0], [11_500, 2_400, 1_000, 20_000], atol=1)


def test_expected_engagement_is_what_happens_on_average():
    behaviour, user, item, prospects = outlook("strong", quality=[-1.0], duration_ms=[30_000])
    expected = behaviour.expected_engagement(user, item, prospects)[0, 0]
    random = np.random.default_rng(0)
    n = 200_000

    def luck():
        return random.random((1, n), dtype=np.float32)

    clicked = luck() < sigmoid(prospects.click)
    watch = np.full((1, n), prospects.watch[0, 0])
    played = behaviour.played_ms(clicked, watch, np.full((1, n), 30_000, np.int32), luck())
    positives = (played >= 18_000).astype(float)
    for name in REACTIONS:
        chance = sigmoid(behaviour.reaction_logit(name, user, item, prospects))
        positives += clicked & (luck() < chance)
    assert positives.mean() == pytest.approx(expected, abs=4 * positives.std() / np.sqrt(n))


def test_predictions_are_right_at_the_median_and_noisy_around_it():
    logit = np.full((1, 3), 1.0, np.float32)
    prospects = Prospects(logit, logit, logit, logit)
    luck = np.array([[0.25, 0.5, 0.75]], np.float32)
    p_click, p_watch, p_like = predictions(prospects, logit, [luck, luck, luck])

    def share(log_odds):
        return 1 / (1 + np.exp(-np.array(log_odds)))

    quartile = np.log(3)
    for predicted, noise in ((p_click, 0.6), (p_watch, 0.6), (p_like, 2.0)):
        expected = share([1 - noise * quartile, 1, 1 + noise * quartile])
        np.testing.assert_allclose(predicted[0], expected, rtol=1e-5)


def test_sigmoid_never_overflows():
    with np.errstate(all="raise"):
        ends = sigmoid(np.array([-1e6, 0, 1e6], np.float32))
    np.testing.assert_allclose(ends, [0, 0.5, 1], atol=1e-30)
