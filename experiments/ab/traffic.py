"""A stretch of traffic: people ask, their arm ranks, they react, and each arm gets its own log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.ab.ranking import Ranker
from experiments.ab.tallies import Tallies
from simulator import World
from simulator.logs import IMPRESSIONS, QUESTIONNAIRES, impressions_table, questionnaires_table

Tables = dict[str, pa.Table]


class Traffic:
    """The people of a world, split into arms, and the logs of what they do.

    The log of a span holds the impressions of its requests, the questionnaires of these that were
    not answered, and the answers that *arrived* in it, whenever their question was asked.

    Args:
        world: that lives on from call to call.
        arms: the arm of each user id.
        tallies: where reactions are counted.

    Attributes:
        unarrived: questionnaires of the past whose answer is still to come.
    """

    def __init__(self, world: World, arms: NDArray[np.int8], tallies: Tallies) -> None:
        self._world = world
        self._arms = arms
        self._tallies = tallies
        self.unarrived = QUESTIONNAIRES.empty_table()

    def run(
        self,
        requests: int,
        rankers: Sequence[Ranker],
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Tables]:
        """The next `requests` requests.

        Args:
            requests: how many.
            rankers: one for each arm; a single one serves everybody.
            progress: called with the requests done so far.

        Returns:
            For each ranker the tables `impressions` and `questionnaires` of its users.
        """
        arms = self._arms if len(rankers) > 1 else np.zeros_like(self._arms)
        impressions, questionnaires = [], [self.unarrived]
        done = last_ms = 0
        while done < requests:
            batch = self._world.requests(min(self._world.config.requests_per_step, requests - done))
            order = np.empty(batch.item.shape, np.int64)
            arm = arms[batch.user]
            for number, ranker in enumerate(rankers):
                rows = np.flatnonzero(arm == number)
                if len(rows):
                    order[rows] = ranker.order(batch, rows)
            reactions = self._world.react(batch, order)
            self._tallies.add(batch, reactions)
            impressions.append(impressions_table(batch, order, reactions))
            questionnaires.append(questionnaires_table(batch, reactions))
            done += len(batch)
            last_ms = int(batch.time_ms[-1])
            progress(done)
        shown = pa.concat_tables([IMPRESSIONS.empty_table(), *impressions])
        asked = self._arrived(pa.concat_tables(questionnaires), last_ms)
        return [
            {
                "impressions": _of_arm(shown, arms, number),
                "questionnaires": _of_arm(asked, arms, number),
            }
            for number in range(len(rankers))
        ]

    def _arrived(self, questionnaires: pa.Table, now_ms: int) -> pa.Table:
        """Keeps back the answers that are not there yet."""
        answered_ms = questionnaires["answered_ms"].to_numpy()
        # Not answered is NaN, and not later than anything.
        later = answered_ms > now_ms
        self.unarrived = questionnaires.filter(pa.array(later))
        return questionnaires.filter(pa.array(~later))


def _of_arm(table: pa.Table, arms: NDArray[np.int8], number: int) -> pa.Table:
    user = table["user_id"].to_numpy()
    return table.filter(pa.array(arms[user] == number))
