"""The client library: slates in every form in, rankings out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from serving.client import AsyncRankingClient, RankingClient, RankingError, canary_label
from tests.serving.conftest import Running

# Version 1 scores duration + 10 for a, 20 for b.
SLATE = {"user_id": "u1", "item_id": ["a1", "b1", "c1"], "duration": [3.0, 1.0, 14.0]}
RANKED = [("b1", 21.0), ("c1", 14.0), ("a1", 13.0)]


@pytest.fixture
def client(running: Running) -> Iterator[RankingClient]:
    with RankingClient(running.address, model="slates", version=1, deadline_seconds=10) as client:
        yield client


def test_a_slate_as_a_dict(client: RankingClient) -> None:
    ranking = client.rank(SLATE)
    assert ranking.items == RANKED
    assert ranking.model_version == 1


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table], ids=["DataFrame", "Arrow"])
def test_a_slate_as_a_table_of_one_row_a_candidate(
    client: RankingClient, make: Callable[[Any], Any]
) -> None:
    table = make({**SLATE, "user_id": ["u1"] * 3})
    assert client.rank(table).items == RANKED


def test_a_user_feature_that_differs_between_rows_is_refused(client: RankingClient) -> None:
    with pytest.raises(ValueError, match="user_id has one value a slate"):
        client.rank(pd.DataFrame({**SLATE, "user_id": ["u1", "u2", "u1"]}))


def test_several_slates_of_different_width_in_one_request(client: RankingClient) -> None:
    narrow = {"user_id": "u2", "item_id": ["c9"], "duration": [0.5]}
    assert [ranking.items for ranking in client.rank_many([SLATE, narrow])] == [
        RANKED,
        [("c9", 0.5)],
    ]


def test_padding_in_a_slate_is_not_ranked(client: RankingClient) -> None:
    slate = {"item_id": ["a1", "", None], "duration": [1.0, 99.0, 99.0]}
    assert client.rank(slate).items == [("a1", 11.0)]


def test_equal_scores_keep_the_order_of_the_request(client: RankingClient) -> None:
    slate = {"item_id": ["c2", "c1", "c3"], "duration": [5.0, 5.0, 5.0]}
    assert [item for item, _ in client.rank(slate).items] == ["c2", "c1", "c3"]


def test_missing_features_take_their_default(running: Running) -> None:
    with RankingClient(
        running.address,
        model="slates",
        version=1,
        deadline_seconds=10,
        defaults={"duration": 2.5},
    ) as client:
        assert client.rank({"item_id": ["c1"]}).items == [("c1", 2.5)]
        slate = {"item_id": ["c1", "c2", "c3"], "duration": [None, float("nan"), 4.0]}
        assert client.rank(slate).items == [("c3", 4.0), ("c1", 2.5), ("c2", 2.5)]


def test_numpy_values_and_integer_ids(client: RankingClient) -> None:
    slate = {"item_id": np.array([17, 4]), "duration": np.array([1.0, 2.0], np.float32)}
    assert client.rank(slate).items == [("4", 2.0), ("17", 1.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": [1.0]}, "feature 'durations' is not one of the model's; did you mean 'dur"),
        ({"item_id": []}, "item_id must be a list of at least one candidate"),
        ({"item_id": "a1"}, "item_id must be a list of at least one candidate"),
        ({"duration": [1.0, 2.0]}, "duration has 2 values for 3 candidates"),
        ({"duration": 1.0}, "duration needs one value a candidate, found 1.0"),
        ({"duration": ["x", "y", "z"]}, "duration must be float"),
    ],
)
def test_a_slate_that_does_not_fit_is_refused(
    client: RankingClient, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        client.rank({**SLATE, **change})


def test_a_slate_without_items_is_refused(client: RankingClient) -> None:
    with pytest.raises(ValueError, match="a slate needs item_id"):
        client.rank({"user_id": "u1"})


def test_a_label_chooses_the_version(running: Running) -> None:
    with RankingClient(
        running.address, model="slates", label="canary", deadline_seconds=10
    ) as client:
        assert client.rank(SLATE).model_version == 2
    with pytest.raises(ValueError, match="version or label"):
        RankingClient(running.address, version=1, label="canary")


def test_the_servers_refusal_is_passed_on(running: Running) -> None:
    with (
        RankingClient(running.address, model="nobody", deadline_seconds=10) as client,
        pytest.raises(RankingError, match="Latest") as caught,
    ):
        client.rank(SLATE)
    assert caught.value.code == grpc.StatusCode.NOT_FOUND


def test_a_model_that_ranks_no_slates(running: Running) -> None:
    with (
        RankingClient(running.address, model="half", deadline_seconds=10) as client,
        pytest.raises(ValueError, match="ranks no slates"),
    ):
        client.rank(SLATE)
    with (
        RankingClient(
            running.address, model="slates", signature="nothing", deadline_seconds=10
        ) as client,
        pytest.raises(ValueError, match="no signature 'nothing'"),
    ):
        client.rank(SLATE)


def test_the_async_client_ranks_many_at_once(running: Running) -> None:
    async def rank() -> list[Any]:
        async with AsyncRankingClient(
            running.address, model="slates", version=1, deadline_seconds=10
        ) as client:
            return await asyncio.gather(*(client.rank(SLATE) for _ in range(8)))

    assert [ranking.items for ranking in asyncio.run(rank())] == [RANKED] * 8


def test_no_server_is_told_before_the_deadline_is_long_gone() -> None:
    client = RankingClient("127.0.0.1:9", deadline_seconds=0.5)
    started = time.monotonic()
    with pytest.raises(RankingError) as caught:
        client.rank(SLATE)
    assert caught.value.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    assert time.monotonic() - started < 2


def test_a_call_that_found_the_server_unavailable_is_sent_again(running: Running) -> None:
    """A proxy that is unavailable twice and then passes calls on."""
    calls: list[str] = []
    lock = threading.Lock()

    class Proxy(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            def forward(request: bytes, context: grpc.ServicerContext) -> bytes:
                with lock:
                    calls.append(details.method)
                    refused = len(calls) <= 2
                if refused:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
                answer: bytes = running.channel.unary_unary(details.method)(request)
                return answer

            return grpc.unary_unary_rpc_method_handler(forward)

    proxy = grpc.server(futures.ThreadPoolExecutor(2))
    proxy.add_generic_rpc_handlers((Proxy(),))
    port = proxy.add_insecure_port("127.0.0.1:0")
    proxy.start()
    try:
        with RankingClient(
            f"127.0.0.1:{port}", model="slates", version=1, deadline_seconds=10
        ) as client:
            assert client.rank(SLATE).items == RANKED
    finally:
        proxy.stop(None)
    # The metadata twice in vain and once answered, then the ranking.
    assert [call.rpartition("/")[2] for call in calls] == ["GetModelMetadata"] * 3 + ["Predict"]


def test_the_client_needs_no_tensorflow() -> None:
    code = "import serving.client, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_canary_gets_its_share_of_the_users_and_keeps_them() -> None:
    users = [f"user{number}" for number in range(20_000)]
    five = {user for user in users if canary_label(user, 5) == "canary"}
    assert 0.045 < len(five) / len(users) < 0.055
    assert five <= {user for user in users if canary_label(user, 20) == "canary"}
    assert all(canary_label(user, 0) == "stable" for user in users)
    assert all(canary_label(user, 100) == "canary" for user in users)
