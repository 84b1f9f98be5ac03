"""The videos: published topic qualities, styles that tell of clickbait, lives and deaths."""

import numpy as np
import pytest

from simulator import SimulatorConfig
from simulator.catalogue import STYLES, Catalogue, topic_qualities
from simulator.config import DAY_MS


@pytest.fixture(scope="module")
def config():
    return SimulatorConfig(items=20_000)


@pytest.fixture(scope="module")
def catalogue(config):
    return Catalogue.draw(config)


def test_fourteen_of_twenty_topics_are_trashy():
    qualities = topic_qualities()
    assert len(qualities) == 20
    np.testing.assert_allclose(qualities[[0, 13, 14, 19]], [-3, 0, 0, 3])
    np.testing.assert_allclose(np.diff(qualities[:14]), 3 / 13, rtol=1e-5)
    np.testing.assert_allclose(np.diff(qualities[14:]), 3 / 5, rtol=1e-5)


def test_quality_follows_the_topic_and_the_author(catalogue):
    excess = catalogue.quality - topic_qualities()[catalogue.topic]
    # Author N(0, .8) and video N(0, .7): 1.063 together; few very productive authors.
    assert excess.std() == pytest.approx(np.hypot(0.8, 0.7), rel=0.1)
    by_author = np.bincount(catalogue.author, excess) / np.maximum(np.bincount(catalogue.author), 1)
    within = excess - by_author[catalogue.author]
    assert within.std() == pytest.approx(0.7, rel=0.05)


def test_only_two_styles_promise_clickbait(catalogue):
    assert (catalogue.clickbait >= 0).all()
    assert (catalogue.clickbait <= 1).all()
    means = {
        name: catalogue.clickbait[catalogue.style == number].mean()
        for number, name in enumerate(STYLES)
    }
    assert {name for name, mean in means.items() if mean > 0.5} == {"teaser", "shock"}


def test_alive_is_uploaded_and_not_yet_dead(config, catalogue):
    times = config.start_ms + np.array([0, DAY_MS, 6 * DAY_MS])
    for time, first, end in zip(times, *catalogue.alive(times), strict=True):
        age = time - catalogue.upload_ms
        alive = (age >= 0) & (age < config.lifetime_days * DAY_MS)
        assert np.flatnonzero(alive).tolist() == list(range(first, end))


def test_videos_come_and_go_at_a_steady_number(config, catalogue):
    times = config.start_ms + np.arange(0, 8) * DAY_MS
    first, end = catalogue.alive(times)
    # 14 of 14 + 7 days: two thirds of all videos.
    np.testing.assert_allclose(end - first, config.items * 2 / 3, atol=2)
    assert (np.diff(first) > 0).all()
    assert (np.diff(end) > 0).all()
