"""A simulated world's log in memory, with what only the simulator knows.

What people are shown and do does not depend on who is asked about it, so one world is logged with
as many questionnaire rates as wanted: the impressions are the same, byte for byte.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulator import SimulatorConfig, World
from simulator.logs import impressions_table, items_table, questionnaires_table, users_table


@dataclass(frozen=True)
class WorldLog:
    """One world under its logging policy.

    Attributes:
        tables: `impressions`, `questionnaires`, `users`, `items`, as `easq simulate` writes them.
        engagement: float32 `[requests, candidates]`, expected positive behaviours of each
            candidate if shown (`World.expected_engagement`), in the logged order.
    """

    tables: dict[str, pa.Table]
    engagement: NDArray[np.float32]

    def write(self, folder: Path) -> None:
        """Writes the tables as Parquet files that the built-in dataset `simulated` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            pq.write_table(table, folder / f"{name}.parquet")


def with_density(config: SimulatorConfig, density: float) -> SimulatorConfig:
    """The same world, asked so often that there are `density` answers a view.

    Both rates are its square root: of 10⁻² answers a view, one view in 10 is asked about and one
    question in 10 answered.
    """
    rate = math.sqrt(density)
    return dataclasses.replace(config, issue_rate=rate, answer_rate=rate)


def log_world(config: SimulatorConfig) -> WorldLog:
    """Runs a world to its end."""
    world = World(config)
    tables: Mapping[str, list[pa.Table]] = {"impressions": [], "questionnaires": []}
    whole = {"users": users_table(world), "items": items_table(world)}
    engagement = []
    while world.remaining:
        requests = world.requests(config.requests_per_step)
        order = world.logging_order(requests)
        expected = world.expected_engagement(requests)
        engagement.append(np.take_along_axis(expected, order, axis=1))
        reactions = world.react(requests, order)
        tables["impressions"].append(impressions_table(requests, order, reactions))
        tables["questionnaires"].append(questionnaires_table(requests, reactions))
    joined = {name: pa.concat_tables(parts) for name, parts in tables.items()}
    return WorldLog({**joined, **whole}, np.concatenate(engagement))
