"""The world itself, one step at a time: propose candidates, show some, react, drift.

    world = World(SimulatorConfig(seed=1))
    requests = world.requests(64)                       # people ask; candidates are proposed
    order = world.logging_order(requests)               # or any other ranking
    reactions = world.react(requests, order)            # the first `exposed` are shown

Stated extensions of the published world that live here:
* retrieval: the alive videos are cut into as many equal ranges of ids as there are candidates;
  two are drawn from each, the one whose topic the person likes better becomes a candidate, so
  that no video is proposed twice in a request;
* the logging policy ranks by 1.2·affinity + .25·log(1 + popularity) + .8·ℓ, the popularity being
  the clicks on a video, forgotten with a time constant of two days.

People react to a batch with the interests they had when it was asked for, so small batches are
finer-grained; the luck of a request depends on nothing but the seed and its number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.audience import Audience
from simulator.behaviour import LONG_VIEW_MS, REACTIONS, Behaviour, Prospects, predictions, sigmoid
from simulator.catalogue import Catalogue
from simulator.clock import evening, hour_of, request_times
from simulator.config import DAY_MS, SimulatorConfig
from simulator.questionnaire import Questionnaires, Survey, meets_trigger
from simulator.randomness import Floats, logistic, uniform_rows
from simulator.scenario import SCENARIOS

_TRIAL_REQUESTS = 1024
_CANDIDATE_LUCKS = 6  # two contenders, logging policy, three predictions
_EXPOSED_LUCKS = 2 + len(REACTIONS) + 5  # click, watch, reactions, questionnaire
_POPULARITY_MS = 2 * DAY_MS
_MOVING = ("taste", "interests", "mood")  # of the audience


@dataclass(frozen=True)
class Requests:
    """People asking for a feed, and what could be shown to them.

    Arrays are [requests] or, from `item` on, [requests, candidates] in the order of proposal.

    Attributes:
        user: user ids.
        item: item ids; no item twice in a row.
        p_click, p_watch, p_like: predictions of an upstream model, noisy and biased, in (0, 1).
        prospects: the truth about each candidate, `prospects.satisfaction` above all.
        luck: uniform numbers that decide what happens, [requests, …].
    """

    request_id: NDArray[np.int64]
    user: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    hour: NDArray[np.int8]
    item: NDArray[np.int64]
    duration_ms: NDArray[np.int32]
    p_click: Floats
    p_watch: Floats
    p_like: Floats
    prospects: Prospects
    luck: Floats

    def __len__(self) -> int:
        return len(self.request_id)


@dataclass(frozen=True)
class Reactions:
    """What people did with the shown videos: [requests, exposed], in the shown order.

    Attributes:
        shown: candidate shown at each position, index into the candidates of the request.
        behaviours: click, long_view, like, follow, comment, forward.
    """

    shown: NDArray[np.int64]
    played_ms: NDArray[np.int32]
    behaviours: dict[str, NDArray[np.bool_]]
    questionnaires: Questionnaires


class World:
    """A simulated world that lasts `config.requests` requests over `config.days` days."""

    def __init__(self, config: SimulatorConfig):
        """Draws the videos and the people and calibrates the questionnaire rates."""
        self.config = config
        self.catalogue = Catalogue.draw(config)
        self.audience = Audience.draw(config)
        self._behaviour = Behaviour(SCENARIOS[config.scenario], self.catalogue, self.audience)
        self._popularity = np.zeros(config.items, np.float32)
        self._popularity_ms = config.start_ms
        self._asked = 0
        self._day = 0
        width = 2 + _CANDIDATE_LUCKS * config.candidates + _EXPOSED_LUCKS * config.exposed
        self._luck_width = width + width % 2
        self._survey = self._calibrated_survey()

    def requests(self, n: int) -> Requests:
        """The next `n` requests (fewer at the world's end), with their candidates.

        Raises:
            ValueError: the world has ended, or `n` is not positive.
        """
        if n < 1:
            raise ValueError(f"requests(n): n is {n}; expected 1 or more")
        n = min(n, self.remaining)
        if n == 0:
            raise ValueError(
                f"the world ended after {self.config.requests} requests; set requests and days "
                "in its config for a longer one"
            )
        luck = uniform_rows(self.config.seed, "requests", self._asked, n, self._luck_width)
        time_ms = request_times(self.config, self._asked, luck[:, 1])
        self._sleep_until(time_ms[0])
        batch = self._propose(self._asked, time_ms, luck)
        self._asked += n
        return batch

    @property
    def remaining(self) -> int:
        """Requests until the world's end."""
        return self.config.requests - self._asked

    def logging_order(self, requests: Requests) -> NDArray[np.int64]:
        """The ranking of the logging policy: [requests, candidates], best first."""
        score = np.float32(1.2) * requests.prospects.affinity
        score += np.float32(0.25) * np.log1p(self._popularity).take(requests.item)
        score += np.float32(0.8) * logistic(self._candidate_luck(requests.luck, 2))
        return np.argsort(-score, axis=1, kind="stable")

    def react(self, requests: Requests, order: NDArray[np.integer]) -> Reactions:
        """Shows the first `exposed` of `order` and lets people react; the world moves on.

        Args:
            requests: a batch of this world, reacted to once.
            order: candidates in shown order, indices 0 … candidates - 1: [requests, ≥ exposed].

        Raises:
            ValueError: `order` has another shape, an index out of range or one twice.
        """
        shown = self._checked(requests, order)
        prospects, duration_ms, played_ms, behaviours = self._play(requests, shown)
        questionnaires = self._survey.ask(
            requests.time_ms,
            played_ms,
            duration_ms,
            prospects.satisfaction,
            [self._exposed_luck(requests.luck, 2 + len(REACTIONS) + k) for k in range(5)],
        )
        clicked = behaviours["click"]
        row, position = np.nonzero(clicked)
        item = requests.item[row, shown[row, position]]
        self.audience.consume(
            requests.user[row],
            self.catalogue.topic.take(item),
            self.catalogue.quality.take(item),
            prospects.satisfaction[clicked],
            self.config.drift,
        )
        passed = max(int(requests.time_ms[-1]) - self._popularity_ms, 0)
        self._popularity *= np.float32(np.exp(-passed / _POPULARITY_MS))
        self._popularity += np.bincount(item, minlength=len(self._popularity)).astype(np.float32)
        self._popularity_ms += passed
        return Reactions(shown, played_ms, behaviours, questionnaires)

    def expected_engagement(self, requests: Requests) -> Floats:
        """Expected positive behaviours of each candidate if shown: [requests, candidates].

        The sum of the true probabilities of long_view, like, follow, comment and forward.
        """
        return self._behaviour.expected_engagement(requests.user, requests.item, requests.prospects)

    def popularity(self) -> Floats:
        """Recent clicks on each video, as the logging policy counts them: [items]."""
        return self._popularity.copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """What has moved since the world began: with the config, all it takes to go on from here.

        Copies; `restore` takes them.
        """
        return {
            **{name: getattr(self.audience, name).copy() for name in _MOVING},
            "popularity": self._popularity.copy(),
            "clock": np.array([self._asked, self._day, self._popularity_ms], np.int64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes back or on to a `state` of a world of the same config.

        Raises:
            ValueError: it is of a world of another size.
        """
        for name in _MOVING:
            now = getattr(self.audience, name)
            if state[name].shape != now.shape:
                raise ValueError(
                    f"{name} has the shape {state[name].shape}, this world's has {now.shape}; "
                    "expected the state of a world with the same config"
                )
            setattr(self.audience, name, state[name].copy())
        self._popularity = state["popularity"].copy()
        self._asked, self._day, self._popularity_ms = (int(value) for value in state["clock"])

    def _sleep_until(self, time_ms: int) -> None:
        today = int(time_ms - self.config.start_ms) // DAY_MS
        while self._day < today:
            self._day += 1
            self.audience.sleep(self.config.seed, self._day, self.config.drift)

    def _propose(self, first: int, time_ms: NDArray[np.int64], luck: Floats) -> Requests:
        candidates = self.config.candidates
        user = self.audience.who_asks(luck[:, 0])
        hour = hour_of(time_ms)

        first_alive, end_alive = self.catalogue.alive(time_ms)
        stretch = ((end_alive - first_alive) // candidates)[:, None]
        start = end_alive[:, None] - stretch * (candidates - np.arange(candidates))
        contenders = []
        for which in (0, 1):
            step = (self._candidate_luck(luck, which) * stretch.astype(np.float32)).astype(np.int64)
            contenders.append(np.minimum(step, stretch - 1) + start)
        affinities = [self._behaviour.affinity(user, item) for item in contenders]
        second_wins = affinities[1] > affinities[0]
        item = np.where(second_wins, contenders[1], contenders[0])
        affinity = np.where(second_wins, affinities[1], affinities[0])

        prospects = self._behaviour.prospects(user, item, affinity, evening(hour))
        like = self._behaviour.reaction_logit("like", user, item, prospects)
        p_click, p_watch, p_like = predictions(
            prospects, like, [self._candidate_luck(luck, which) for which in (3, 4, 5)]
        )
        return Requests(
            request_id=first + np.arange(len(user)),
            user=user,
            time_ms=time_ms,
            hour=hour,
            item=item,
            duration_ms=self.catalogue.duration_ms.take(item),
            p_click=p_click,
            p_watch=p_watch,
            p_like=p_like,
            prospects=prospects,
            luck=luck,
        )

    def _play(
        self, requests: Requests, shown: NDArray[np.int64]
    ) -> tuple[Prospects, NDArray[np.int32], NDArray[np.int32], dict[str, NDArray[np.bool_]]]:
        """Prospects, durations, played times and behaviours of the shown: [requests, exposed]."""

        def of_shown(values: NDArray[Any]) -> NDArray[Any]:
            return np.take_along_axis(values, shown, axis=1)

        luck = requests.luck
        item = of_shown(requests.item)
        duration_ms = of_shown(requests.duration_ms)
        prospects = Prospects(
            *(of_shown(getattr(requests.prospects, field.name)) for field in fields(Prospects))
        )
        clicked = self._exposed_luck(luck, 0) < sigmoid(prospects.click)
        played_ms = self._behaviour.played_ms(
            clicked, prospects.watch, duration_ms, self._exposed_luck(luck, 1)
        )
        behaviours = {
            "click": clicked,
            "long_view": played_ms >= np.minimum(duration_ms, LONG_VIEW_MS),
        }
        for number, name in enumerate(REACTIONS):
            chance = sigmoid(self._behaviour.reaction_logit(name, requests.user, item, prospects))
            behaviours[name] = clicked & (self._exposed_luck(luck, 2 + number) < chance)
        return prospects, duration_ms, played_ms, behaviours

    def _calibrated_survey(self) -> Survey:
        luck = uniform_rows(self.config.seed, "trial", 0, _TRIAL_REQUESTS, self._luck_width)
        time_ms = np.full(_TRIAL_REQUESTS, self.config.start_ms + DAY_MS // 2)
        trial = self._propose(0, time_ms, luck)
        shown = self.logging_order(trial)[:, : self.config.exposed]
        prospects, duration_ms, played_ms, _ = self._play(trial, shown)
        return Survey(self.config, meets_trigger(played_ms, duration_ms), prospects.satisfaction)

    def _checked(self, requests: Requests, order: NDArray[np.integer]) -> NDArray[np.int64]:
        candidates, exposed = self.config.candidates, self.config.exposed
        order = np.asarray(order)
        if order.ndim != 2 or len(order) != len(requests) or order.shape[1] < exposed:
            raise ValueError(
                f"order has the shape {order.shape}; expected ({len(requests)}, {exposed} or more)"
            )
        shown = order[:, :exposed].astype(np.int64)
        in_turn = np.sort(shown, axis=1)
        if in_turn[:, 0].min() < 0 or in_turn[:, -1].max() >= candidates:
            raise ValueError(f"order holds an index outside 0 … {candidates - 1}")
        if (in_turn[:, 1:] == in_turn[:, :-1]).any():
            raise ValueError("order shows a candidate twice in one request")
        return shown

    def _candidate_luck(self, luck: Floats, which: int) -> Floats:
        start = 2 + which * self.config.candidates
        return luck[:, start : start + self.config.candidates]

    def _exposed_luck(self, luck: Floats, which: int) -> Floats:
        start = 2 + _CANDIDATE_LUCKS * self.config.candidates + which * self.config.exposed
        return luck[:, start : start + self.config.exposed]
