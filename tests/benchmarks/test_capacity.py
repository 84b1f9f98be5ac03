"""The capacity calculator against cases computed by hand."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.capacity import Costs, Load, Prices, online, plan, queue

ROOT = Path(__file__).resolve().parents[2]
# 10 CPU seconds a million impressions, a run of 100 s, half of each core lost to parallelism.
COSTS = Costs(
    example_gen=1,
    statistics=2,
    transform=3,
    training=4,
    parallel=0.5,
    run=100,
    request=0.01,
    span=2,
    span_impressions=10,
    span_pick_up=1,
    log_bytes=20,
    example_bytes=100,
)
LOAD = Load(
    candidates=10,
    peak=2,
    busy=0.5,
    servers=2,
    machine_cores=4,
    window_days=5,
    hours=1,
    kept_days=10,
    span_seconds=60,
)
PRICES = Prices(core_hour=0.1, gigabyte_month=0.5)


def test_a_log_that_one_core_reads_in_time():
    found = plan(10e6, COSTS, PRICES, LOAD)
    # 50 million impressions take 500 s and 100 more.
    assert (found.run_cores, found.run_core_hours) == (1, pytest.approx(600 / 3600))
    # A million requests a day are 11.57 a second, 23.15 at the peak, of 10 ms, half a core each.
    assert found.requests_a_second == pytest.approx(23.148, abs=1e-3)
    assert found.server_cores == pytest.approx(0.46296, abs=1e-5)
    assert found.servers == 2
    assert found.log_gigabytes == pytest.approx(2)  # 10 days of 10 million of 20 bytes
    assert found.example_gigabytes == pytest.approx(5)  # 50 million of 100 bytes
    assert found.dollars_a_month["storage"] == pytest.approx(3.5)
    assert found.dollars_a_month["runs"] == pytest.approx(365 / 12 * 600 / 3600 * 0.1)
    # Less than a core is in use: two servers of one core.
    assert found.dollars_a_month["serving"] == pytest.approx(365 / 12 * 24 * 2 * 0.1)


def test_a_log_that_takes_several():
    found = plan(1e9, COSTS, PRICES, LOAD)
    # 50,000 s of work cost 100,000 at an efficiency of a half: 100,100 s in an hour's time.
    assert found.run_cores == 28
    assert found.run_core_hours == pytest.approx(100_100 / 3600)
    # 2,314.8 requests a second of 10 ms use 23.1 cores; 46.3 to leave half: 12 machines of 4.
    assert found.servers == 12


def test_a_span_waits_for_those_before_it():
    # A span every 10 s; the third takes 15 and two spans catch up.
    waits = queue([8, 8, 15, 8, 8, 8], lambda number: 10 * number)
    assert waits == [0, 0, 0, 5, 3, 1]
    # Overloaded: each span waits longer than the one before.
    assert queue([12, 12, 12], lambda number: 10 * number) == [0, 2, 4]


def test_the_queue_agrees_with_pollaczek_and_khinchine():
    # One job a second on average, of .5 s each: λ E[S²] / (2 (1 − ρ)) = .25 / (2 · .5) s.
    generator = random.Random(0)
    moments, now = [], 0.0
    for _ in range(100_000):
        now += generator.expovariate(1.0)
        moments.append(now)
    waits = queue([0.5] * len(moments), moments.__getitem__)
    assert sum(waits) / len(waits) == pytest.approx(0.25, rel=0.05)


def test_the_loop_is_as_fresh_as_its_spans_are_short():
    # 864,000 a day: 10 a second, 20 at the peak, 1,200 a span of .012 s each thousand.
    found = online(864_000, COSTS, LOAD)
    assert (found.span_seconds, found.kept, found.longest_queue) == (60, 1.0, 0)
    assert found.busy == pytest.approx((2 + 1200 * 10e-6) / 60)
    # Half a span on average, 2 s of work (.8 to 1.4 times) and 1 s to be picked up.
    assert found.median == pytest.approx(30 + 2.2 + 1, abs=1.5)
    assert found.p95 == pytest.approx(57 + 2.2 + 1, abs=1.5)


def test_a_loop_that_could_not_keep_up_learns_a_part():
    # 100,000 a second at the peak would take 1 s each second; half of `busy` is for them.
    found = online(4.32e9, COSTS, LOAD)
    assert found.kept == pytest.approx(0.25)
    assert found.busy == pytest.approx(0.25 + 2 / 60)
    assert found.longest_queue == 0
    # Spans may be no shorter than what they cost allows: 2 s in the other quarter of the time.
    short = online(4.32e9, COSTS, dataclasses.replace(LOAD, span_seconds=1))
    assert short.span_seconds == pytest.approx(8)


def test_every_figure_is_an_option():
    run = subprocess.run(
        [sys.executable, "benchmarks/capacity.py", "--impressions", "1e6", "--core-hour", "1000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    head, rule, *rows = run.stdout.splitlines()
    assert (head, rule) == ("| impressions a day | 1e+06 |", "|---|---:|")
    assert "| $ a month, serving | 1,500,000 |" in rows  # 2 cores, 730 hours
