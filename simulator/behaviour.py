"""What a person makes of a video: the equations from interest and quality to behaviour.

Published (RecSim interest evolution, RecSim NG): affinity a = u·d of interests and one-hot topic;
choice by affinity alone; received utility = user_quality_factor·a + document_quality_factor·
quality; watch time = sigmoid(-quality)·length, so that trash holds people longer.

Stated extensions, with the coefficients of `simulator.scenario` in capitals, clickbait c, σ the
sigmoid, ℓ standard logistic noise and "habit" a person's own constant (`simulator.audience`):

    true satisfaction    s = tanh(AFFINITY_UTILITY·a + QUALITY_UTILITY·quality - REGRET·c
                                  + leniency + BASE_UTILITY)
    click                P = σ(.6 + 1.6·a + LURE·c + appeal + habit)
    watched share        min(1, 1.15·σ(m + .6·ℓ)) after a click,
                         m = -.1 + .8·a - QUALITY_WATCH·quality + HOOK·c + habit + .3·evening
    glimpse              without a click, exponential with mean 1.2 s, at most the whole video
    long_view            played 18 s, or all of a shorter video
    like, follow, comment, forward (only after a click)
                         P = σ(base + slope·s + .3·a + agitation·c + habit), `REACTIONS`

`evening` is 1 at ten in the evening and -1 at ten in the morning. Clickbait is watched and
regretted: c raises click and watch time and lowers s. Reactions follow s but are rare, come only
after a click, and carry the person's habit, so they are biased proxies. Exposure order does not
change what a person makes of a video.

An upstream model predicts p_click, p_watch (the watched share) and p_like for every candidate:
the true log-odds plus .6·ℓ, .6·ℓ and 2·ℓ, likes being rare. A ranking stage is given these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.audience import Audience
from simulator.catalogue import TOPICS, Catalogue
from simulator.randomness import Floats, logistic
from simulator.scenario import Scenario

LONG_VIEW_MS = 18_000

_COMPLETION = np.float32(1.15)
_WATCH_NOISE = np.float32(0.6)
_GLIMPSE_MS = np.float32(1_200)


@dataclass(frozen=True)
class Reaction:
    """Log-odds of a reaction: base + slope·satisfaction + agitation·clickbait + …"""

    base: float
    slope: float
    agitation: float = 0.0


REACTIONS: dict[str, Reaction] = {
    "like": Reaction(-3.1, 2.0),
    "follow": Reaction(-5.4, 2.3),
    "comment": Reaction(-4.8, 1.6, agitation=0.5),
    "forward": Reaction(-5.0, 1.9),
}


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + e^-x). Beyond ±80 it is flat, so that nothing overflows."""
    one = np.float32(1)
    return one / (one + np.exp(np.clip(-logit, -80, 80)))


@dataclass(frozen=True)
class Prospects:
    """What would become of each candidate if it were shown: every array is [requests, candidates].

    Attributes:
        affinity: of the person with the video's topic, in [-1, 1].
        click: log-odds of a click.
        watch: m, the log-odds of the watched share before noise.
        satisfaction: true satisfaction, in (-1, 1).
    """

    affinity: Floats
    click: Floats
    watch: Floats
    satisfaction: Floats


class Behaviour:
    """The equations for one scenario, with what depends on the video alone computed once."""

    def __init__(self, scenario: Scenario, catalogue: Catalogue, audience: Audience):
        self._scenario = scenario
        self._audience = audience
        self._topic = catalogue.topic
        self._clickbait = catalogue.clickbait
        self._duration_ms = catalogue.duration_ms
        clickbait, quality = catalogue.clickbait, catalogue.quality
        self._click = 0.6 + scenario.lure * clickbait + catalogue.appeal
        self._watch = -0.1 - scenario.quality_watch * quality + scenario.hook * clickbait
        self._utility = (
            scenario.base_utility + scenario.quality_utility * quality - scenario.regret * clickbait
        )

    def affinity(self, user: NDArray[np.int32], item: NDArray[np.int64]) -> Floats:
        """Interest of each request's person [requests] in the videos' topics [requests, n]."""
        cell = user.astype(np.int64)[:, None] * TOPICS + self._topic.take(item)
        return self._audience.interests.reshape(-1).take(cell)

    def prospects(
        self, user: NDArray[np.int32], item: NDArray[np.int64], affinity: Floats, evening: Floats
    ) -> Prospects:
        """The prospects of the candidates `item` [requests, n] of each request's person."""
        people, scenario = self._audience, self._scenario
        watch_habit = people.watch_habit.take(user) + np.float32(0.3) * evening
        click = self._click.take(item)
        click += np.float32(1.6) * affinity + people.click_habit.take(user)[:, None]
        watch = self._watch.take(item)
        watch += np.float32(0.8) * affinity + watch_habit[:, None]
        utility = self._utility.take(item)
        utility += np.float32(scenario.affinity_utility) * affinity
        utility += people.leniency.take(user)[:, None]
        return Prospects(affinity, click, watch, np.tanh(utility))

    def reaction_logit(
        self, name: str, user: NDArray[np.int32], item: NDArray[np.int64], prospects: Prospects
    ) -> Floats:
        """Log-odds of one of `REACTIONS` after a click: [requests, n]."""
        reaction = REACTIONS[name]
        logit = np.float32(reaction.slope) * prospects.satisfaction
        logit += np.float32(0.3) * prospects.affinity
        logit += self._audience.react_habit.take(user)[:, None] + np.float32(reaction.base)
        if reaction.agitation:
            logit += np.float32(reaction.agitation) * self._clickbait.take(item)
        return logit

    def played_ms(
        self,
        clicked: NDArray[np.bool_],
        watch: Floats,
        duration_ms: NDArray[np.int32],
        luck: Floats,
    ) -> NDArray[np.int32]:
        """How long each shown video plays; one uniform number `luck` each."""
        share = _COMPLETION * sigmoid(watch + _WATCH_NOISE * logistic(luck))
        glimpse = -_GLIMPSE_MS * np.log(luck)
        played = np.where(clicked, share * duration_ms, glimpse)
        return np.minimum(played, duration_ms).astype(np.int32)

    def expected_engagement(
        self, user: NDArray[np.int32], item: NDArray[np.int64], prospects: Prospects
    ) -> Floats:
        """Expected number of positive behaviours (long_view and `REACTIONS`) if shown."""
        needed = np.minimum(LONG_VIEW_MS / self._duration_ms.take(item), 1) / _COMPLETION
        long_view = sigmoid((prospects.watch - np.log(needed / (1 - needed))) / _WATCH_NOISE)
        after_click = long_view + sum(
            sigmoid(self.reaction_logit(name, user, item, prospects)) for name in REACTIONS
        )
        return (sigmoid(prospects.click) * after_click).astype(np.float32)


def predictions(
    prospects: Prospects, like: Floats, luck: Sequence[Floats]
) -> tuple[Floats, Floats, Floats]:
    """p_click, p_watch, p_like of the upstream model; `luck`: three [requests, n] uniform."""
    return (
        sigmoid(prospects.click + np.float32(0.6) * logistic(luck[0])),
        sigmoid(prospects.watch + np.float32(0.6) * logistic(luck[1])),
        sigmoid(like + np.float32(2.0) * logistic(luck[2])),
    )
