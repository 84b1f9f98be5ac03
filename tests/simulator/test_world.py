"""The steppable world: what it proposes, how it reacts, what a ranking does to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import SimulatorConfig, World
from simulator.questionnaire import meets_trigger

SMALL = {"users": 50, "items": 200, "requests": 300, "days": 2}


def small_world(**values):
    return World(SimulatorConfig(**{**SMALL, **values}))


def shuffled(requests, seed=0):
    random = np.random.default_rng(seed)
    return np.argsort(random.random(requests.item.shape), axis=1)


worlds = st.builds(
    lambda candidates, shown, **values: SimulatorConfig(
        candidates=candidates, exposed=min(shown, candidates), requests=40, **values
    ),
    candidates=st.integers(2, 15),
    shown=st.integers(1, 15),
    seed=st.integers(0, 1000),
    scenario=st.sampled_from(["mild", "strong"]),
    users=st.integers(1, 60),
    items=st.integers(150, 400),
    days=st.integers(1, 20),
    lifetime_days=st.floats(8, 40),
    drift=st.floats(0, 10),
)


@settings(max_examples=60)
@given(config=worlds, batch=st.integers(1, 50))
def test_every_world_keeps_its_promises(config, batch):
    world = World(config)
    seen = 0
    while world.remaining:
        requests = world.requests(batch)
        n = len(requests)
        assert requests.request_id.tolist() == list(range(seen, seen + n))
        seen += n
        assert ((requests.user >= 0) & (requests.user < config.users)).all()
        assert all(len(set(row)) == config.candidates for row in requests.item.tolist())
        first, end = world.catalogue.alive(requests.time_ms)
        assert (requests.item >= first[:, None]).all()
        assert (requests.item < end[:, None]).all()
        assert (np.diff(requests.time_ms) >= 0).all()
        truth = requests.prospects.satisfaction
        assert np.isfinite(truth).all()
        assert (np.abs(truth) <= 1).all()
        for predicted in (requests.p_click, requests.p_watch, requests.p_like):
            assert ((predicted >= 0) & (predicted <= 1)).all()

        order = world.logging_order(requests)
        assert (np.sort(order, axis=1) == np.arange(config.candidates)).all()
        reactions = world.react(requests, order)
        duration = np.take_along_axis(requests.duration_ms, reactions.shown, axis=1)
        behaviours = reactions.behaviours
        assert reactions.played_ms.shape == (n, config.exposed)
        assert ((reactions.played_ms >= 0) & (reactions.played_ms <= duration)).all()
        for name in ("like", "follow", "comment", "forward"):
            assert not (behaviours[name] & ~behaviours["click"]).any()
        long_view = (reactions.played_ms >= 18_000) | (reactions.played_ms == duration)
        assert (behaviours["long_view"] == long_view).all()
        asked = reactions.questionnaires
        assert meets_trigger(reactions.played_ms, duration)[asked.row, asked.position].all()
        assert (asked.issued_ms >= requests.time_ms[asked.row]).all()
        assert np.abs(world.audience.interests).max() <= 1
    assert seen == config.requests
    with pytest.raises(ValueError, match="the world ended after 40 requests"):
        world.requests(1)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_a_request_does_not_depend_on_the_batch_it_comes_in(sizes):
    """Until people react: then the next batch knows of it."""
    together, apart = small_world(days=1), small_world(days=1)
    whole = together.requests(sum(sizes))
    parts = [apart.requests(size) for size in sizes if apart.remaining]
    for name in ("request_id", "user", "time_ms", "item", "p_click", "p_watch", "p_like", "luck"):
        np.testing.assert_array_equal(
            getattr(whole, name), np.concatenate([getattr(part, name) for part in parts])
        )
    np.testing.assert_array_equal(
        whole.prospects.satisfaction,
        np.concatenate([part.prospects.satisfaction for part in parts]),
    )


def test_the_same_seed_and_rankings_give_the_same_world_and_another_seed_another():
    runs = []
    for seed in (1, 1, 2):
        world = small_world(seed=seed)
        played = []
        while world.remaining:
            requests = world.requests(100)
            played.append(world.react(requests, shuffled(requests)).played_ms)
        runs.append((np.concatenate(played), world.audience.interests))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert (runs[0][0] != runs[2][0]).mean() > 0.5


def test_only_the_shown_part_of_the_order_matters():
    left, right = small_world(), small_world()
    requests = left.requests(100)
    order = shuffled(requests)
    whole = left.react(requests, order)
    cut = right.react(right.requests(100), order[:, :7])
    np.testing.assert_array_equal(whole.played_ms, cut.played_ms)
    np.testing.assert_array_equal(left.audience.interests, right.audience.interests)


def test_reactions_are_those_to_the_video_shown():
    """Ranking the hated last and the loved first shows the loved."""
    world = small_world(exposed=4)
    requests = world.requests(300)
    best = np.argsort(-requests.prospects.click, axis=1)
    loved = world.react(requests, best).behaviours["click"].mean()
    hated = world.react(requests, best[:, ::-1]).behaviours["click"].mean()
    assert loved > hated + 0.2


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.zeros((5, 7), int), "twice"),
        (np.tile(np.arange(6), (5, 1)), r"shape \(5, 6\); expected \(5, 7 or more\)"),
        (np.tile(np.arange(12), (4, 1)), r"shape \(4, 12\)"),
        (np.arange(12), r"shape \(12,\)"),
        (np.tile(np.arange(12), (5, 1)) + 6, "outside 0 … 11"),
        (np.tile(np.arange(12), (5, 1)) - 1, "outside 0 … 11"),
    ],
)
def test_an_order_that_is_none_is_refused(order, message):
    world = small_world()
    with pytest.raises(ValueError, match=message):
        world.react(world.requests(5), order)


def test_a_batch_has_at_least_one_request():
    with pytest.raises(ValueError, match="n is 0; expected 1 or more"):
        small_world().requests(0)


def test_popularity_counts_clicks_and_forgets_them():
    world = small_world(days=20)
    requests = world.requests(100)
    clicked = world.react(requests, world.logging_order(requests)).behaviours["click"]
    assert world.popularity().sum() == clicked.sum()
    before = world.popularity()
    gap = world.requests(150)
    reactions = world.react(gap, world.logging_order(gap))
    passed_days = (gap.time_ms[-1] - requests.time_ms[-1]) / 86_400_000
    kept = world.popularity().sum() - reactions.behaviours["click"].sum()
    assert kept == pytest.approx(before.sum() * np.exp(-passed_days / 2), rel=1e-3)


def test_most_requests_come_in_the_evening():
    world = small_world(requests=20_000)
    hours = np.bincount(world.requests(20_000).hour, minlength=24)
    assert hours.argmax() == 21
    # 19 of 205 an hour at nine in the evening, 1 of 205 at three in the night.
    np.testing.assert_allclose(hours[[21, 3]] / 20_000, [19 / 205, 1 / 205], rtol=0.02)


def test_serving_satisfaction_makes_people_come_back_happier():
    """What a closed-loop test measures: the world answers to the ranking it is served."""

    def run(by):
        world = small_world(scenario="strong", requests=4_000, users=40, days=5)
        while world.remaining:
            requests = world.requests(100)
            value = {
                "satisfaction": requests.prospects.satisfaction,
                "engagement": world.expected_engagement(requests),
            }[by]
            world.react(requests, np.argsort(-value, axis=1))
        return world.audience.mood.mean()

    assert run("satisfaction") > run("engagement") + 0.2


def moved(world, steps):
    """What happens in the next steps under the logging policy, as plain values."""
    happened = []
    for _ in range(steps):
        requests = world.requests(20)
        order = world.logging_order(requests)
        reactions = world.react(requests, order)
        what = (requests.user, order, reactions.played_ms, world.popularity(), world.audience.mood)
        happened.append([values.tolist() for values in what])
    return happened


def test_a_restored_world_goes_on_as_the_one_it_was_taken_from():
    world = small_world()
    moved(world, 6)
    state = world.state()
    expected = moved(world, 9)  # past a midnight

    other = small_world()
    other.restore(state)
    assert moved(other, 9) == expected

    other.restore(state)  # the state itself has not moved
    assert moved(other, 9) == expected


def test_a_state_of_a_world_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"taste has the shape \(60, 20\), this world's has \(50"):
        small_world().restore(small_world(users=60).state())
