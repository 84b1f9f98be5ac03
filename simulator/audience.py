"""The people: interests, habits, how often they ask, and how all this changes.

From RecSim's interest evolution environment: interests ∈ [-1, 1] per topic, 1 is love and -1 is
disgust. From RecSim NG: consuming a video of topic d moves the interests by step·quality·(d - u).

Stated extensions:
* interests u₀ = clip(0.6·taste(age group) + 0.8·own taste), both uniform in [-1, 1], so an age
  group says something about taste; the profile's `top_topic` is the true favourite for 80 % of
  the people and a random topic for the rest;
* of the published step only the consumed topic's share is taken and it fades at the borders, which
  keeps interests in [-1, 1]: u_d ← u_d + .02·drift·quality·(1 - u_d²);
* every night u ← clip(u + .1·drift·(u₀ - u) + .08·drift·ε), ε uniform in [-1, 1], and the taste
  u₀ itself wanders by .05·drift·ε, so that old knowledge of a person goes stale;
* a person asks at a rate activity·exp(mood), activity log-normal (σ = .8); the mood, a slow mean
  of the satisfaction with what was watched, stands for the time budget that RecSim extends by the
  received utility: satisfied people come back more.
* habits that differ between people and say nothing about the satisfaction with one video:
  readiness to click, to watch, to react (N(0, .4), N(0, .4), N(0, .6)); and a leniency N(0, .2)
  in the utility.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.catalogue import TOPICS
from simulator.config import SimulatorConfig
from simulator.randomness import Floats, generator

AGE_GROUPS = ["under_18", "18_23", "24_30", "31_40", "41_50", "over_50"]
ACTIVITIES = ["low", "medium", "high"]

_CONSUMPTION_STEP = np.float32(0.02)
_MOOD_STEP = np.float32(0.02)


@dataclass
class Audience:
    """All people, by user id: arrays [users], interests [users, TOPICS]. Interests and mood move.

    Attributes:
        taste: where the interests return to.
        activity: weight of a person among those who ask next.
        favourite: topic that the profile names.
    """

    taste: Floats
    interests: Floats
    activity: Floats
    mood: Floats
    click_habit: Floats
    watch_habit: Floats
    react_habit: Floats
    leniency: Floats
    age_group: NDArray[np.int32]
    favourite: NDArray[np.int32]
    registered_days: NDArray[np.int32]

    @classmethod
    def draw(cls, config: SimulatorConfig) -> "Audience":
        random = generator(config.seed, "audience")
        users = config.users

        age_group = random.integers(len(AGE_GROUPS), size=users)
        shared_taste = random.uniform(-1, 1, (len(AGE_GROUPS), TOPICS))
        own_taste = random.uniform(-1, 1, (users, TOPICS))
        taste = np.clip(0.6 * shared_taste[age_group] + 0.8 * own_taste, -1, 1)
        favourite = np.where(
            random.random(users) < 0.8, taste.argmax(axis=1), random.integers(TOPICS, size=users)
        )

        def habit(scale: float) -> Floats:
            return random.normal(0, scale, users).astype(np.float32)

        return cls(
            taste=taste.astype(np.float32),
            interests=taste.astype(np.float32),
            activity=np.exp(random.normal(0, 0.8, users)).astype(np.float32),
            mood=np.zeros(users, np.float32),
            click_habit=habit(0.4),
            watch_habit=habit(0.4),
            react_habit=habit(0.6),
            leniency=habit(0.2),
            age_group=age_group.astype(np.int32),
            favourite=favourite.astype(np.int32),
            registered_days=(1 + random.exponential(400, users)).astype(np.int32),
        )

    def activity_class(self) -> NDArray[np.int32]:
        """The profile's `activity`: thirds of the people by how often they ask."""
        thirds = np.quantile(self.activity, [1 / 3, 2 / 3])
        return np.searchsorted(thirds, self.activity).astype(np.int32)

    def who_asks(self, uniform: Floats) -> NDArray[np.int32]:
        """A person for each uniform number, by activity and mood."""
        rate = np.cumsum(self.activity * np.exp(self.mood), dtype=np.float64)
        chosen = np.searchsorted(rate, uniform * rate[-1], side="right")
        return np.minimum(chosen, len(rate) - 1).astype(np.int32)

    def consume(
        self,
        user: NDArray[np.int32],
        topic: NDArray[np.int32],
        quality: Floats,
        satisfaction: Floats,
        drift: float,
    ) -> None:
        """People watched videos (one per entry): interests follow quality, mood satisfaction."""
        cell = user * np.int64(TOPICS) + topic
        touched, where = np.unique(cell, return_inverse=True)
        pull = np.bincount(where, weights=quality).astype(np.float32)
        interests = self.interests.reshape(-1)
        now = interests[touched]
        moved = now + _CONSUMPTION_STEP * np.float32(drift) * pull * (1 - now * now)
        interests[touched] = np.clip(moved, -1, 1)

        users = len(self.mood)
        watched = np.bincount(user, minlength=users).astype(np.float32)
        felt = np.bincount(user, weights=satisfaction, minlength=users).astype(np.float32)
        self.mood += np.minimum(_MOOD_STEP * watched, 1) * (
            felt / np.maximum(watched, 1) - self.mood
        )

    def sleep(self, seed: int, day: int, drift: float) -> None:
        """The night before `day`: interests return towards the taste, both wander."""
        random = generator(seed, "night", day)

        def wander(scale: float) -> Floats:
            step = random.random(self.taste.shape, dtype=np.float32)
            return np.float32(2 * scale * drift) * (step - np.float32(0.5))

        back = np.float32(min(0.1 * drift, 1)) * (self.taste - self.interests)
        self.interests = np.clip(self.interests + back + wander(0.08), -1, 1)
        self.taste = np.clip(self.taste + wander(0.05), -1, 1)
