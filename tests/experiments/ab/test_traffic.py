"""World ↔ arms ↔ logs: nobody in two arms, nothing lost, answers in the span of their arrival."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.ab.ranking import LoggingPolicy, RequestFeatures
from experiments.ab.split import split
from experiments.ab.tallies import COLUMNS, SECONDS_BESIDE_WATCHING, Tallies
from experiments.ab.traffic import Traffic
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from simulator import SimulatorConfig, World, simulate
from simulator.logs import BEHAVIOURS

SMALL = {"users": 60, "items": 200, "requests": 600, "days": 3}


class ByColumn:
    """Ranks by one of the upstream predictions."""

    def __init__(self, column):
        self.column = column
        self.users = set()

    def order(self, requests, rows):
        self.users |= set(requests.user[rows].tolist())
        return np.argsort(-getattr(requests, self.column)[rows], axis=1, kind="stable")


def small(**values):
    config = SimulatorConfig(**{**SMALL, **values})
    world = World(config)
    tallies = Tallies(config.days, config.users, config.start_ms)
    return world, tallies, Traffic(world, split(config.users, "test"), tallies)


def test_the_logging_policy_leaves_the_simulators_own_log():
    world, _, traffic = small()
    (log,) = traffic.run(600, [LoggingPolicy(world)])
    expected = simulate(world.config)

    assert log["impressions"].equals(expected.impressions)
    asked = expected.questionnaires
    arrived = asked["answered_ms"].to_numpy()
    last = expected.impressions["time_ms"].to_numpy().max()
    assert log["questionnaires"].equals(asked.filter(~(arrived > last)))


def test_each_arm_logs_its_own_users_as_its_own_ranker_ordered_them():
    _, _, traffic = small()
    arms = split(60, "test")
    rankers = [ByColumn("p_click"), ByColumn("p_like")]
    logs = traffic.run(600, rankers)

    for number, (ranker, log) in enumerate(zip(rankers, logs, strict=True)):
        users = set(np.flatnonzero(arms == number).tolist())
        rows = log["impressions"].to_pandas()
        assert ranker.users <= users
        assert set(rows.user_id) == ranker.users
        assert (rows.groupby("request_id")[ranker.column].diff().dropna() <= 0).all()
        assert (rows.position == np.tile(np.arange(12), len(rows) // 12)).all()
        assert set(log["questionnaires"]["user_id"].to_pylist()) <= users
    requests = [set(log["impressions"]["request_id"].to_pylist()) for log in logs]
    assert not requests[0] & requests[1]
    assert requests[0] | requests[1] == set(range(600))


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 200), min_size=1, max_size=5), seed=st.integers(0, 50))
def test_cutting_time_into_spans_loses_and_doubles_nothing(cuts, seed):
    whole_world, whole_tallies, whole = small(seed=seed)
    total = min(sum(cuts), 600)
    step = whole_world.config.requests_per_step
    (expected,) = whole.run(total, [LoggingPolicy(whole_world)])

    world, tallies, traffic = small(seed=seed)
    spans, left = [], total
    for cut in cuts:
        if left:
            spans += traffic.run(min(cut, left), [LoggingPolicy(world)])
            left -= min(cut, left)
    # The world itself reacts in batches; it is the same where the batches are.
    if total <= step and len(spans) == 1:
        assert (tallies.sums == whole_tallies.sums).all()
        assert spans[0]["impressions"].equals(expected["impressions"])
    keys = []
    for number, span in enumerate(spans):
        asked = span["questionnaires"].to_pandas()
        last = span["impressions"]["time_ms"].to_numpy().max()
        assert not (asked.answered_ms > last).any()
        if number:
            first = spans[number - 1]["impressions"]["time_ms"].to_numpy().max()
            issued_before = asked[asked.issued_ms <= first]
            assert (issued_before.answered_ms.isna() | (issued_before.answered_ms > first)).all()
        keys += list(zip(asked.request_id, asked.item_id, strict=True))
    assert len(keys) == len(set(keys))
    assert sum(span["impressions"].num_rows for span in spans) == 12 * total


def test_tallies_are_the_sums_of_the_log():
    world, tallies, traffic = small(issue_rate=0.3, answer_rate=0.5)
    (log,) = traffic.run(600, [LoggingPolicy(world)])
    rows = log["impressions"].to_pandas()
    asked = simulate(world.config).questionnaires.to_pandas()
    shown = rows[rows.exposed == 1]
    totals = tallies.period(0, 3)

    assert totals["requests"].sum() == 600
    assert totals["shown"].sum() == len(shown)
    by_user = shown.groupby("user_id")
    users = by_user.played_ms.sum().index
    assert totals["watch_seconds"][users] == pytest.approx(by_user.played_ms.sum() / 1000)
    assert totals["true_satisfaction"][users] == pytest.approx(
        by_user.true_satisfaction.sum(), abs=1e-4
    )
    for name in BEHAVIOURS:
        assert totals[name][users].tolist() == by_user[name].sum().tolist()
    issued = np.bincount(asked.user_id, minlength=60)
    assert totals["issued"].tolist() == issued.tolist()
    for answer in ("satisfied", "uncertain", "dissatisfied"):
        users_of = asked[asked.answer == answer].user_id
        assert totals[answer].tolist() == np.bincount(users_of, minlength=60).tolist()
    assert totals["answered"].sum() == asked.answer.notna().sum() > 0
    days = (rows.time_ms - world.config.start_ms) // 86_400_000
    active = rows.assign(day=days).groupby("user_id").day.nunique()
    assert totals["active_days"][active.index].tolist() == active.tolist()
    assert totals["active_days"].sum() == active.sum()


def test_made_columns_by_hand():
    tallies = Tallies(2, 3, 0)
    value = {name: number + 1.0 for number, name in enumerate(COLUMNS)}
    tallies.sums[0, 1] = [value[name] for name in COLUMNS]
    tallies.sums[1, 1, COLUMNS.index("requests")] = 4
    totals = tallies.period(0, 2)

    assert totals["active_days"].tolist() == [0, 2, 0]
    beside = sum(seconds * value[name] for name, seconds in SECONDS_BESIDE_WATCHING.items())
    assert totals["stay_seconds"].tolist() == [0, value["watch_seconds"] + beside, 0]
    positive = sum(value[name] for name in ("long_view", "like", "follow", "comment", "forward"))
    assert totals["positive_behaviours"][1] == positive
    assert totals["told"][1] == value["satisfied"] + value["dissatisfied"]
    assert totals["users"].tolist() == [1, 1, 1]
    assert tallies.period(1, 2)["requests"].tolist() == [0, 4, 0]


def test_a_slate_holds_what_the_log_will_say_of_it():
    world, _, traffic = small()
    features = RequestFeatures(world, load_dataset_config("simulated"))
    before = world.state()
    batch = world.requests(5)
    slates = features.slates(batch, np.array([1, 3]))
    world.restore(before)
    (log,) = traffic.run(5, [LoggingPolicy(world)])

    expected = simulate(world.config)
    rows = log["impressions"].to_pandas().merge(expected.users.to_pandas(), on="user_id")
    rows = rows.merge(expected.items.to_pandas(), on="item_id")
    for slate, request in zip(slates, (1, 3), strict=True):
        logged = rows[rows.request_id == request].set_index("item_id").loc[slate["item_id"]]
        for name in ("author_id", "topic", "style", "duration_s", "upload_day"):
            assert slate[name] == logged[name].tolist()
        assert slate["p_click"] == logged["p_click"].tolist()
        for name in ("user_id", "activity", "age_group", "top_topic", "registered_days", "hour"):
            assert slate[name] == logged[name].iloc[0]
        assert len(slate) == 15


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"name": "clicked", "table": "impressions", "column": "click"}, "'click'; expected a col"),
        ({"name": "mood", "table": "items"}, "'mood'; expected a column known"),
    ],
)
def test_what_is_not_known_at_the_request_is_no_feature(feature, message):
    values = json.loads(load_dataset_config("simulated").to_json())
    values["features"].append({**feature, "level": "candidate", "kind": "numeric"})
    with pytest.raises(ConfigError, match=message):
        RequestFeatures(small()[0], DatasetConfig.from_dict(values))
