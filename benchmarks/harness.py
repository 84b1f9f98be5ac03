"""What all benchmarks share: fresh processes, turns, ratios against goals, one form of result.

A benchmark measures its contenders in one run, in turns, and reports ratios: machines differ, and
a shared one changes its pace from minute to minute.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from simulator import SimulatorConfig, write_logs

# Of a simulated request.
CANDIDATES = 12
PACKAGES = ("tensorflow", "keras", "apache-beam", "tfx", "pyarrow", "polars", "grpcio")


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One finding.

    Attributes:
        what: ours / the peer, and what of them.
        value: the ratio.
        goal: what it should be, if there is a goal.
        at_most: whether the goal is an upper bound.
    """

    what: str
    value: float
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def machine() -> dict[str, Any]:
    """What a reader has to know of the machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def step_of_fit(model: Any, dataset: Any, steps: int) -> Callable[[], float]:
    """A contender: CPU milliseconds of a training step of a compiled Keras model.

    Args:
        model: it is fitted once at once, so that nothing is left to compile.
        dataset: batches, one pass a turn.
        steps: how many they are.
    """

    def milliseconds() -> float:
        started = time.process_time()
        model.fit(dataset, epochs=1, verbose=0)
        return (time.process_time() - started) * 1000 / steps

    milliseconds()
    return milliseconds


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contender says, round by round."""
    said: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            said[name].append(run())
    return said


def ratio(said: Mapping[str, Sequence[float]], above: str, below: str) -> float:
    """The median over the rounds of one contender's figure over the other's of the same round."""
    pairs = zip(said[above], said[below], strict=True)
    return statistics.median(one / other for one, other in pairs)


def in_fresh_process(
    script: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Any:
    """What `script --child ARGUMENTS` prints as its last line, read as JSON."""
    done = subprocess.run(
        [sys.executable, script, "--child", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return json.loads(done.stdout.splitlines()[-1])


def on_one_core() -> None:
    """Keeps this process and its threads on the last of the cores it may use."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Cost(dict[str, float]):
    """`seconds` and `cpu_seconds` of a block, and `peak_mib` of the process at its end."""


@contextmanager
def cost() -> Iterator[Cost]:
    """Measures a block; the figures are there when it is left."""
    found = Cost()
    started, cpu = time.perf_counter(), cpu_seconds()
    yield found
    found["seconds"] = round(time.perf_counter() - started, 3)
    found["cpu_seconds"] = round(cpu_seconds() - cpu, 3)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def cpu_seconds() -> float:
    """Of this process, all its threads, and the processes it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def simulated_logs(impressions: int, folder: str) -> int:
    """Writes logs of so many impressions or a few more, 30 requests a user; says how many."""
    requests = -(-impressions // CANDIDATES)
    write_logs(SimulatorConfig(requests=requests, users=max(300, requests // 30)), folder)
    return requests * CANDIDATES


def report(name: str, ratios: Sequence[Ratio], figures: Mapping[str, Any], out: str | None) -> None:
    """Prints the ratios, and writes all into a file.

    Args:
        name: of the benchmark.
        ratios: what was found.
        figures: what it was found from, as plain data.
        out: the JSON file; None: none is written.
    """
    for one in ratios:
        goal = ""
        if one.goal is not None:
            sign = "≤" if one.at_most else "≥"
            goal = f"  goal {sign} {one.goal:g}: {'met' if one.met else 'NOT met'}"
        print(f"{one.value:8.2f}  {one.what}{goal}")
    if out is not None:
        result = {
            "benchmark": name,
            "machine": machine(),
            "ratios": [dataclasses.asdict(one) for one in ratios],
            "figures": figures,
        }
        Path(out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
