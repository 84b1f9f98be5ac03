"""The videos: topics with quality distributions, authors, styles, clickbait, arrival and death.

From RecSim's interest evolution environment (SlateQ): 20 topics of which 70 % are trashy, with
mean qualities evenly spaced from -3 to 0, and 30 % nutritious, from 0 to 3; a video belongs to one
topic and its quality is drawn around the topic's mean.

Stated extensions:
* quality = topic mean + author's quality N(0, 0.8) + video's own N(0, 0.7) (there: N(0, 0.1)), so
  that authors and single videos can be told apart, not just topics;
* an author has a home topic (70 % of the videos) and a habit of one style; productivity ~ 1/rank;
* clickbait ∈ [0, 1] around the mean of the video's style: `teaser` .65, `shock` .85, the others
  low. The style is a visible category, the clickbait is not;
* each video has an own appeal N(0, 0.4), in the log-odds of a click;
* uploads spread evenly from `lifetime_days` before the start to the end; a video is alive for
  `lifetime_days`. Ids rise with the upload time, so the alive videos are one range of ids.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.config import DAY_MS, SimulatorConfig
from simulator.randomness import Floats, generator

TOPICS = 20
TRASHY_TOPICS = 14
HIGHEST_QUALITY = 3.0
TOPIC_NAMES = [f"topic_{topic:02d}" for topic in range(TOPICS)]

STYLES = ["plain", "talk", "lesson", "story", "teaser", "shock"]
_STYLE_CLICKBAIT = np.array([0.05, 0.10, 0.05, 0.20, 0.65, 0.85], np.float32)
_STYLE_SHARES = np.array([0.30, 0.15, 0.10, 0.15, 0.18, 0.12])

_VIDEOS_PER_AUTHOR = 20


def topic_qualities() -> Floats:
    """Mean quality of each topic, trashy ones first: [TOPICS]."""
    trashy = np.linspace(-HIGHEST_QUALITY, 0, TRASHY_TOPICS)
    nutritious = np.linspace(0, HIGHEST_QUALITY, TOPICS - TRASHY_TOPICS)
    return np.concatenate([trashy, nutritious]).astype(np.float32)


@dataclass(frozen=True)
class Catalogue:
    """All videos ever uploaded, by item id; every array is [items]."""

    author: NDArray[np.int32]
    topic: NDArray[np.int32]
    style: NDArray[np.int32]
    clickbait: Floats
    quality: Floats
    appeal: Floats
    duration_ms: NDArray[np.int32]
    upload_ms: NDArray[np.int64]
    lifetime_ms: int

    @classmethod
    def draw(cls, config: SimulatorConfig) -> "Catalogue":
        random = generator(config.seed, "catalogue")
        items = config.items
        authors = max(items // _VIDEOS_PER_AUTHOR, 1)

        author_topic = random.integers(TOPICS, size=authors)
        author_style = random.choice(len(STYLES), size=authors, p=_STYLE_SHARES)
        author_quality = random.normal(0, 0.8, authors)
        productivity = np.cumsum(1 / np.arange(5, authors + 5))
        author = np.searchsorted(productivity / productivity[-1], random.random(items))

        topic = np.where(
            random.random(items) < 0.7, author_topic[author], random.integers(TOPICS, size=items)
        )
        style = np.where(
            random.random(items) < 0.6,
            author_style[author],
            random.choice(len(STYLES), size=items, p=_STYLE_SHARES),
        )
        clickbait = np.clip(_STYLE_CLICKBAIT[style] + random.normal(0, 0.1, items), 0, 1)
        quality = topic_qualities()[topic] + author_quality[author] + random.normal(0, 0.7, items)
        duration_s = np.clip(np.exp(random.normal(np.log(22.0), 0.7, items)), 3, 180)

        lifetime = config.lifetime_days * DAY_MS
        rank = (np.arange(items) + random.random(items)) / items
        upload = config.start_ms - lifetime + rank * (lifetime + config.days * DAY_MS)
        return cls(
            author=author.astype(np.int32),
            topic=topic.astype(np.int32),
            style=style.astype(np.int32),
            clickbait=clickbait.astype(np.float32),
            quality=quality.astype(np.float32),
            appeal=random.normal(0, 0.4, items).astype(np.float32),
            duration_ms=(duration_s * 1000).astype(np.int32),
            upload_ms=upload.astype(np.int64),
            lifetime_ms=int(lifetime),
        )

    def alive(self, time_ms: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The videos alive at each time: ids from the first number up to but not the second."""
        return (
            np.searchsorted(self.upload_ms, time_ms - self.lifetime_ms, side="right"),
            np.searchsorted(self.upload_ms, time_ms, side="right"),
        )
