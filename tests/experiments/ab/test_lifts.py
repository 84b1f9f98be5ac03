"""Lifts: by hand, against the delta method, and whether intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.ab.lifts import METRICS, Metric, compare, resplits
from experiments.ab.split import split
from experiments.ab.tallies import COLUMNS

WATCH = Metric("watch", "Watch", "watch_seconds")
RATE = Metric("rate", "Rate", "satisfied", "answered")
NAMES = (*COLUMNS, "active_days", "stay_seconds", "positive_behaviours", "told")


def totals(users, **columns):
    given = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    return {**dict.fromkeys(NAMES, np.zeros(users)), "users": np.ones(users), **given}


def test_a_table_of_four_people_by_hand():
    arm = np.array([0, 1, 0, 1], np.int8)
    measured = totals(
        4, watch_seconds=[10, 30, 30, 20], satisfied=[1, 3, 2, 0], answered=[2, 4, 2, 1]
    )

    watch, rate = compare(measured, totals(4), arm, seed=0, metrics=(WATCH, RATE))

    assert (watch.control, watch.treatment) == (20, 25)
    assert watch.lift.value == pytest.approx(0.25)
    assert watch.difference.value == pytest.approx(5)
    # 3 of 4 answers against 3 of 5.
    assert (rate.control, rate.treatment) == (0.75, 0.6)
    assert rate.lift.value == pytest.approx(-0.2)
    # Draws of the two people of each arm: means 10, 20 or 30 against 20, 25 or 30.
    assert watch.lift.low == pytest.approx(20 / 30 - 1)
    assert watch.lift.high == pytest.approx(30 / 10 - 1)


def test_without_earlier_days_nothing_is_adjusted():
    arm = np.array([0, 1, 0, 1], np.int8)
    (row,) = compare(
        totals(4, watch_seconds=[10, 30, 30, 20]), totals(4), arm, seed=0, metrics=(WATCH,)
    )
    assert row.adjusted == row.lift
    assert row.adjusted_difference == row.difference


def test_an_even_earlier_difference_is_taken_off():
    """Measured time is twice the earlier time, plus 6 in the treatment: the lift is 6 of 20 once
    both arms are brought to the same earlier mean."""
    before = totals(6, watch_seconds=[8, 10, 12, 10, 12, 14])
    arm = np.array([0, 0, 0, 1, 1, 1], np.int8)
    measured = totals(6, watch_seconds=[16, 20, 24, 26, 30, 34])

    (row,) = compare(measured, before, arm, seed=0, metrics=(WATCH,))

    assert row.lift.value == pytest.approx(30 / 20 - 1)
    # The mean of all earlier times is 11, which foretells 22.
    assert row.adjusted.value == pytest.approx(6 / 22)
    assert row.adjusted.low == pytest.approx(6 / 22)
    assert row.adjusted.high == pytest.approx(6 / 22)


def test_the_interval_is_that_of_the_delta_method():
    random = np.random.default_rng(0)
    answered = random.poisson(3, 4_000).astype(float)
    satisfied = random.binomial(answered.astype(int), 0.6).astype(float)
    arm = split(4_000, "delta")
    (row,) = compare(
        totals(4_000, satisfied=satisfied, answered=answered),
        totals(4_000),
        arm,
        seed=1,
        metrics=(RATE,),
        replicates=2_000,
    )

    relative_variance = 0.0
    for side in (0, 1):
        top, bottom = satisfied[arm == side], answered[arm == side]
        ratio = top.sum() / bottom.sum()
        z = (top - ratio * bottom) / bottom.mean() / ratio
        relative_variance += z.var() / len(z)
    width = 2 * 1.96 * np.sqrt(relative_variance)
    assert row.lift.high - row.lift.low == pytest.approx(width, rel=0.08)
    # (1.96 + .84)·error = 1 %, error falling with √users.
    needed = 4_000 * (2.8016 * np.sqrt(relative_variance) / 0.01) ** 2
    assert row.users_needed == pytest.approx(needed, rel=0.08)


def test_no_lift_of_what_may_be_zero_or_negative():
    random = np.random.default_rng(0)
    metric = Metric("truth", "Truth", "true_satisfaction", "shown")
    measured = totals(200, true_satisfaction=random.normal(0, 1, 200), shown=np.ones(200))
    (row,) = compare(measured, totals(200), split(200, "key"), seed=0, metrics=(metric,))

    assert row.lift.value is None
    assert row.adjusted.value is None
    assert row.users_needed is None
    assert row.difference.low < row.difference.value < row.difference.high


def test_a_metric_that_nobody_has_is_undefined():
    (row,) = compare(totals(20), totals(20), split(20, "key"), seed=0, metrics=(RATE,))
    assert (row.control, row.treatment, row.difference.value, row.lift.value) == (None,) * 4


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), users=st.integers(2, 60), factor=st.floats(0.1, 1_000))
def test_lifts_do_not_depend_on_the_unit(seed, users, factor):
    random = np.random.default_rng(seed)
    watched = random.gamma(2, 10, users)
    before = random.gamma(2, 10, users)
    arm = np.arange(users, dtype=np.int8) % 2
    rows = [
        compare(
            totals(users, watch_seconds=scale * watched),
            totals(users, watch_seconds=scale * before),
            arm,
            seed=seed,
            metrics=(WATCH,),
            replicates=50,
        )[0]
        for scale in (1.0, factor)
    ]
    assert rows[0].lift.value == pytest.approx(rows[1].lift.value)
    assert rows[0].lift.low == pytest.approx(rows[1].lift.low)
    assert rows[0].adjusted.value == pytest.approx(rows[1].adjusted.value)


def people(users, seed, lift=0.0, arm=None):
    """Totals of people who differ in how often they ask, before and after a lift of the rate."""
    random = np.random.default_rng(seed)
    rate = np.exp(random.normal(0, 0.8, users))
    after = rate * (1 + lift * arm) if arm is not None else rate

    def days(rate, days):
        requests = random.poisson(2 * days * rate).astype(float)
        answered = random.binomial(requests.astype(int), 0.3).astype(float)
        return totals(
            users,
            requests=requests,
            watch_seconds=random.gamma(np.maximum(requests, 1e-9), 20),
            active_days=np.minimum(requests, days),
            answered=answered,
            satisfied=random.binomial(answered.astype(int), 0.6).astype(float),
        )

    return days(rate, 3), days(after, 7)


def test_intervals_of_alike_arms_hold_zero_19_times_in_20():
    before, measured = people(1_000, seed=5)
    wanted = [m for m in METRICS if m.name in ("retention", "watch_time", "satisfied", "requests")]
    rows = [row for table in resplits(measured, before, splits=150, seed=0) for row in table]
    for metric in wanted:
        for kind in ("lift", "adjusted"):
            held = [not getattr(r, kind).differs for r in rows if r.metric == metric]
            assert len(held) == 150
            # Binomial(150, .95): 4 standard deviations are 11 splits.
            assert abs(np.mean(held) - 0.95) < 0.072, (metric.name, kind)


def test_a_true_lift_is_found_without_bias_and_sooner_when_adjusted():
    found = []
    for seed in range(40):
        arm = split(1_000, f"lift-{seed}")
        before, measured = people(1_000, seed, lift=0.2, arm=arm)
        rows = compare(measured, before, arm, seed=seed, replicates=200)
        found.append(next(row for row in rows if row.metric.name == "requests"))
    plain, adjusted = ([getattr(r, kind).value for r in found] for kind in ("lift", "adjusted"))
    error = np.std(adjusted) / np.sqrt(len(adjusted))
    assert np.mean(adjusted) == pytest.approx(0.2, abs=4 * error)
    assert np.std(adjusted) < 0.6 * np.std(plain)
    held = [row.adjusted.low <= 0.2 <= row.adjusted.high for row in found]
    assert np.mean(held) > 0.8
