"""Machines and money for so many impressions a day, and how fresh the online loop is.

    python benchmarks/capacity.py
    python benchmarks/capacity.py --impressions 5e7 --core-hour 0.031 --training 12

Every cost, price and habit of the load is an option (`--help` lists them with their defaults).
`docs/capacity.md` has the formulas. Costs are those measured in `benchmarks/README.md`, in CPU
seconds of one core; prices are round examples of November 2026 and nobody's list.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DAY = 86_400.0
SIZES = (1e6, 1e8, 1e10)


@dataclass(frozen=True)
class Costs:
    """Measured; CPU seconds of one core, and bytes.

    Attributes:
        example_gen: CPU seconds a million impressions.
        statistics: The same, of StatisticsGen.
        transform: The same, of Transform's analysis.
        training: The same, of training steps with their input.
        parallel: Parallel efficiency when a step takes more than one core.
        run: CPU seconds of a run whatever its size: imports, compilation, export, infra check.
        request: CPU seconds of a Predict.
        span: CPU seconds of an online span whatever its size.
        span_impressions: CPU seconds a million impressions of an online span.
        span_pick_up: Seconds from a model's push to its first answer.
        log_bytes: Of an impression in the logs, Parquet.
        example_bytes: Of an impression in the examples.
    """

    example_gen: float = 4.3
    statistics: float = 6.5
    transform: float = 2.5
    training: float = 23.1
    parallel: float = 0.56
    run: float = 150.0
    request: float = 1 / 3600
    span: float = 3.3
    span_impressions: float = 117.0
    span_pick_up: float = 8.0
    log_bytes: float = 23.0
    example_bytes: float = 141.0


@dataclass(frozen=True)
class Prices:
    """Examples, in dollars: put in your own.

    Attributes:
        core_hour: A core with 4 GB for an hour.
        gigabyte_month: A gigabyte of object storage for a month.
    """

    core_hour: float = 0.05
    gigabyte_month: float = 0.02


@dataclass(frozen=True)
class Load:
    """What the day looks like.

    Attributes:
        candidates: Impressions a request.
        peak: Traffic of the busiest hour over that of the mean one.
        busy: Share of a core that is planned to be used.
        servers: The least number of servers.
        machine_cores: Of a server or worker.
        window_days: Days of logs that the nightly run reads.
        hours: That the nightly run may take.
        kept_days: Days for which logs are kept.
        span_seconds: Between two spans of the online loop, at least.
    """

    candidates: float = 12.0
    peak: float = 2.5
    busy: float = 0.6
    servers: int = 2
    machine_cores: int = 8
    window_days: float = 7.0
    hours: float = 4.0
    kept_days: float = 30.0
    span_seconds: float = 60.0


@dataclass(frozen=True)
class Plan:
    """What so many impressions a day take.

    Attributes:
        run_cores: That finish the nightly run in its hours.
        run_core_hours: Of a nightly run.
        requests_a_second: At the peak.
        server_cores: Of all servers.
        servers: Machines.
        log_gigabytes: Kept.
        example_gigabytes: Of one run.
        dollars_a_month: By what they are for.
    """

    run_cores: int
    run_core_hours: float
    requests_a_second: float
    server_cores: float
    servers: int
    log_gigabytes: float
    example_gigabytes: float
    dollars_a_month: dict[str, float]


def plan(impressions: float, costs: Costs, prices: Prices, load: Load) -> Plan:
    """Machines and money for so many impressions a day."""
    read = impressions * load.window_days / 1e6
    million = costs.example_gen + costs.statistics + costs.transform + costs.training
    # Several cores do each step at their parallel efficiency, one at its own pace.
    alone = costs.run + million * read
    seconds = alone
    if alone > load.hours * 3600:
        seconds = costs.run + million * read / costs.parallel
    cores = math.ceil(seconds / (load.hours * 3600))
    requests = impressions / load.candidates / DAY * load.peak
    server_cores = requests * costs.request / load.busy
    servers = max(load.servers, math.ceil(server_cores / load.machine_cores))
    logs = impressions * load.kept_days * costs.log_bytes / 1e9
    examples = read * 1e6 * costs.example_bytes / 1e9
    month = 365 / 12
    serving_cores = servers * load.machine_cores if server_cores > 1 else load.servers
    return Plan(
        run_cores=cores,
        run_core_hours=seconds / 3600,
        requests_a_second=requests,
        server_cores=server_cores,
        servers=servers,
        log_gigabytes=logs,
        example_gigabytes=examples,
        dollars_a_month={
            "runs": month * seconds / 3600 * prices.core_hour,
            "serving": month * 24 * serving_cores * prices.core_hour,
            "storage": (logs + examples) * prices.gigabyte_month,
        },
    )


@dataclass(frozen=True)
class Freshness:
    """Of the online loop.

    Attributes:
        span_seconds: Between two spans.
        kept: Share of the impressions that are learnt; answers all are.
        busy: Share of the time that the loop works, at the peak.
        median: Seconds from an answer to the first ranking that knows it.
        p95: The same, of all but the slowest twentieth.
        longest_queue: Seconds that a landed span waited at most.
    """

    span_seconds: float
    kept: float
    busy: float
    median: float
    p95: float
    longest_queue: float


def online(impressions: float, costs: Costs, load: Load, *, seed: int = 0) -> Freshness:
    """Freshness over three simulated days at so many impressions a day.

    The loop is one process on one core. Where it could not keep up at the peak, impressions are
    thinned out until it is busy for `load.busy` of the time; spans are as short as that allows.
    """
    cost, rate = costs.span_impressions / 1e6, impressions / DAY * load.peak
    # Half of the time that is planned for is left to what a span costs whatever its size.
    kept = min(1.0, load.busy / 2 / (cost * rate))
    span = max(load.span_seconds, costs.span / (load.busy - cost * rate * kept))
    generator = random.Random(seed)

    def service(number: int) -> float:
        # A day's traffic: from nearly nothing at night to `peak` times the mean.
        moment = 2 * math.pi * (number * span / DAY)
        factor = 1 + (load.peak - 1) * math.sin(moment)
        traffic = impressions / DAY * max(factor, 0.1) * kept * span
        return (costs.span + cost * traffic) * generator.uniform(0.8, 1.4)

    services = [service(number) for number in range(math.ceil(3 * DAY / span))]
    waits = queue(services, lambda number: number * span)
    ages = sorted(
        generator.uniform(0, span) + wait + work + costs.span_pick_up
        for wait, work in zip(waits, services, strict=True)
    )
    return Freshness(
        span_seconds=span,
        kept=kept,
        busy=(costs.span + cost * rate * kept * span) / span,
        median=ages[len(ages) // 2],
        p95=ages[int(0.95 * len(ages))],
        longest_queue=max(waits),
    )


def queue(services: Sequence[float], arrival: Callable[[int], float]) -> list[float]:
    """How long each job waits for those before it, one server, in order of arrival.

    Args:
        services: Seconds that each job takes.
        arrival: When job n arrives; never decreasing.
    """
    waits, free = [], -math.inf
    for number, work in enumerate(services):
        begins = max(free, arrival(number))
        waits.append(begins - arrival(number))
        free = begins + work
    return waits


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--impressions", type=float, nargs="+", default=SIZES, help="a day")
    for kind in (Costs, Prices, Load):
        group = parser.add_argument_group(kind.__name__, kind.__doc__)
        for field in dataclasses.fields(kind):
            name = f"--{field.name.replace('_', '-')}"
            group.add_argument(name, type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    sizes = given.pop("impressions")
    costs, prices, load = (
        kind(**{field.name: given[field.name] for field in dataclasses.fields(kind)})
        for kind in (Costs, Prices, Load)
    )
    print(table(sizes, costs, prices, load))


def table(sizes: Sequence[float], costs: Costs, prices: Prices, load: Load) -> str:
    """Everything for several sizes, as Markdown."""
    plans = [plan(size, costs, prices, load) for size in sizes]
    fresh = [online(size, costs, load) for size in sizes]
    rows: list[tuple[str, list[str]]] = [
        ("requests a second at the peak", [figure(one.requests_a_second) for one in plans]),
        (f"servers of {load.machine_cores} cores", [figure(one.servers) for one in plans]),
        (
            "of these cores in use at the peak",
            [figure(one.server_cores * load.busy) for one in plans],
        ),
        (f"cores of a run in {load.hours:g} hours", [figure(one.run_cores) for one in plans]),
        ("core hours a run", [figure(one.run_core_hours) for one in plans]),
        ("examples of a run, GB", [figure(one.example_gigabytes) for one in plans]),
        ("logs kept, GB", [figure(one.log_gigabytes) for one in plans]),
        *(
            (f"$ a month, {what}", [figure(one.dollars_a_month[what]) for one in plans])
            for what in plans[0].dollars_a_month
        ),
        ("online: seconds between spans", [figure(one.span_seconds) for one in fresh]),
        ("online: impressions learnt", [f"{one.kept:.3g}" for one in fresh]),
        ("online: busy at the peak", [f"{one.busy:.0%}" for one in fresh]),
        ("online: answer to ranking, median s", [figure(one.median) for one in fresh]),
        ("online: the same, 95th percentile s", [figure(one.p95) for one in fresh]),
        ("online: longest queue, s", [figure(one.longest_queue) for one in fresh]),
    ]
    head = f"| impressions a day | {' | '.join(f'{size:.0e}' for size in sizes)} |"
    lines = [f"| {name} | {' | '.join(values)} |" for name, values in rows]
    return "\n".join([head, "|---|" + "---:|" * len(sizes), *lines])


def figure(value: float) -> str:
    """Two digits that count, or all of a whole number that is small."""
    if value >= 100:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.2g}"


if __name__ == "__main__":
    main()
