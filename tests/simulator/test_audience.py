"""The people: profiles that half tell the truth, and interests that move as published."""

import numpy as np
import pytest

from simulator import SimulatorConfig
from simulator.audience import Audience


def audience(users=1000, **values):
    return Audience.draw(SimulatorConfig(users=users, **values))


def consume(people, *, quality, satisfaction=0.0, topic=3, drift=1.0):
    people.consume(
        np.array([0]),
        np.array([topic]),
        np.array([quality], np.float32),
        np.array([satisfaction], np.float32),
        drift,
    )


def test_interests_lie_between_disgust_and_love():
    people = audience()
    assert people.interests.shape == (1000, 20)
    assert np.abs(people.interests).max() <= 1


def test_the_profile_names_the_true_favourite_four_times_in_five():
    people = audience(users=20_000)
    right = (people.taste.argmax(axis=1) == people.favourite).mean()
    # .8 and a twentieth of the guesses.
    assert right == pytest.approx(0.8 + 0.2 / 20, abs=0.01)


def test_people_of_one_age_share_some_taste():
    people = audience(users=20_000)
    means = np.array([people.taste[people.age_group == age].mean(axis=0) for age in range(6)])
    # .6 times a uniform number in [-1, 1]; a mean of 3,000 people without it spreads by .01.
    assert means.std() == pytest.approx(0.6 / np.sqrt(3), rel=0.15)


def test_consuming_moves_the_interest_by_the_published_step():
    people = audience()
    people.interests[0, 3] = 0.5
    before = people.interests.copy()
    consume(people, quality=2.0)
    # .02 · quality · (1 - u²) = .02 · 2 · .75
    assert people.interests[0, 3] == pytest.approx(0.5 + 0.03)
    before[0, 3] = people.interests[0, 3]
    np.testing.assert_array_equal(people.interests, before)


def test_trash_repels_and_a_still_world_does_not_move():
    people = audience()
    people.interests[0, 3] = 0.0
    consume(people, quality=-2.0)
    assert people.interests[0, 3] == pytest.approx(-0.04)
    consume(people, quality=-2.0, drift=0.0)
    assert people.interests[0, 3] == pytest.approx(-0.04)


def test_two_videos_in_a_step_count_twice():
    people = audience()
    people.interests[0, 3] = 0.0
    people.consume(
        np.array([0, 0]), np.array([3, 3]), np.ones(2, np.float32), np.zeros(2, np.float32), 1.0
    )
    assert people.interests[0, 3] == pytest.approx(0.04)


def test_mood_follows_satisfaction_and_brings_people_back():
    people = audience(users=2)
    people.activity[:] = 1
    for _ in range(500):
        consume(people, quality=0.0, satisfaction=0.8)
    assert people.mood[0] == pytest.approx(0.8, abs=0.001)
    assert people.mood[1] == 0
    draws = ((np.arange(10_000) + 0.5) / 10_000).astype(np.float32)
    share = (people.who_asks(draws) == 0).mean()
    assert share == pytest.approx(np.exp(0.8) / (1 + np.exp(0.8)), abs=0.001)


def test_active_people_ask_more_and_their_class_says_so():
    people = audience()
    draws = np.random.default_rng(0).random(100_000, dtype=np.float32)
    asked = np.bincount(people.who_asks(draws), minlength=1000)
    by_class = [asked[people.activity_class() == k].mean() for k in range(3)]
    assert by_class[0] < by_class[1] < by_class[2]
    expected = people.activity / people.activity.sum() * 100_000
    assert np.abs(asked - expected).max() < 6 * np.sqrt(expected.max())


def test_a_night_leads_interests_back_to_the_taste():
    people = audience()
    people.interests = people.taste - np.float32(0.5) * np.sign(people.taste)
    before = np.abs(people.interests - people.taste).mean()
    taste = people.taste.copy()
    people.sleep(seed=0, day=1, drift=1.0)
    assert np.abs(people.interests - taste).mean() < before
    assert 0 < np.abs(people.taste - taste).max() <= 0.05
    assert np.abs(people.interests).max() <= 1


def test_a_night_in_a_still_world_changes_nothing():
    people = audience()
    interests, taste = people.interests.copy(), people.taste.copy()
    people.sleep(seed=0, day=1, drift=0.0)
    np.testing.assert_array_equal(people.interests, interests)
    np.testing.assert_array_equal(people.taste, taste)
