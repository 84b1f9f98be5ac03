"""Rankings of the simulator's requests: by its logging policy, or by a model server."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.feature_config import FeatureConfig
from serving.client import RankingClient
from simulator import Requests, World
from simulator.logs import items_table, users_table

Order = NDArray[np.int64]

SLATES_PER_CALL = 64


class Ranker(Protocol):
    """Orders the candidates of some requests of a batch."""

    def order(self, requests: Requests, rows: NDArray[np.int64]) -> Order:
        """[rows, candidates], the best first; numbers of candidates as the batch holds them."""


class LoggingPolicy:
    """The simulator's own ranking, in the days before there is a model."""

    def __init__(self, world: World) -> None:
        self._world = world

    def order(self, requests: Requests, rows: NDArray[np.int64]) -> Order:
        """As `Ranker.order`."""
        return self._world.logging_order(requests)[rows]


class RequestFeatures:
    """Slates as an application sends them: the dataset's features, known when a feed is asked for.

    Args:
        world: whose requests are ranked.
        dataset: names the features and where they come from.

    Raises:
        ConfigError: A feature is not known at that time, such as a behaviour.
    """

    def __init__(self, world: World, dataset: DatasetConfig) -> None:
        tables = {"users": users_table(world), "items": items_table(world)}
        self._features = dataset.features
        self._columns: dict[str, NDArray[Any]] = {}
        for number, feature in enumerate(dataset.features):
            if feature.table == "impressions":
                known = sorted(_KNOWN_AT_REQUEST)
                found = feature.column in _KNOWN_AT_REQUEST
            else:
                known = tables[feature.table].column_names
                found = feature.column in known
            if not found:
                raise ConfigError(
                    f"features[{number}].column",
                    repr(feature.column),
                    f"a column known when a feed is asked for; the simulator's {feature.table} "
                    f"have {', '.join(known)}",
                )
            if feature.table != "impressions":
                self._columns[feature.name] = tables[feature.table][feature.column].to_numpy()

    def slates(self, requests: Requests, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """One mapping a request: features of users and requests as values, of candidates as lists.

        Candidates keep the order of `requests`.
        """
        columns = {
            feature.name: self._values(feature, requests, rows).tolist()
            for feature in self._features
        }
        names = list(columns)
        return [
            dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]

    def _values(
        self, feature: FeatureConfig, requests: Requests, rows: NDArray[np.int64]
    ) -> NDArray[Any]:
        if feature.table == "users":
            return self._columns[feature.name].take(requests.user[rows])
        if feature.table == "items":
            return self._columns[feature.name].take(requests.item[rows])
        return getattr(requests, _KNOWN_AT_REQUEST[feature.column])[rows]


class ServedModel:
    """The newest version on a model server, asked by batched gRPC Predict.

    Args:
        client: of the server.
        features: what is sent.

    Attributes:
        version: that answered last; None before the first answer.
    """

    def __init__(self, client: RankingClient, features: RequestFeatures) -> None:
        self._client = client
        self._features = features
        self.version: int | None = None

    def order(self, requests: Requests, rows: NDArray[np.int64]) -> Order:
        """As `Ranker.order`.

        Raises:
            RankingError: The server refused, or could not be reached.
        """
        orders = np.empty((len(rows), requests.item.shape[1]), np.int64)
        for start in range(0, len(rows), SLATES_PER_CALL):
            batch = rows[start : start + SLATES_PER_CALL]
            rankings = self._client.rank_many(self._features.slates(requests, batch))
            for number, (row, ranking) in enumerate(zip(batch, rankings, strict=True)):
                where = {str(item): place for place, item in enumerate(requests.item[row].tolist())}
                orders[start + number] = [where[item] for item, _ in ranking.items]
            self.version = rankings[-1].model_version
        return orders


# Column of the impressions log → attribute of a batch of requests.
_KNOWN_AT_REQUEST = {
    "request_id": "request_id",
    "user_id": "user",
    "item_id": "item",
    "time_ms": "time_ms",
    "hour": "hour",
    "duration_ms": "duration_ms",
    "p_click": "p_click",
    "p_watch": "p_watch",
    "p_like": "p_like",
}
