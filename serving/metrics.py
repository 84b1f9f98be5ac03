"""Counters and histograms under TensorFlow Serving's names, printed as Prometheus reads them."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Sequence

# TensorFlow Serving's latency buckets, in microseconds: 10 × 1.8ⁿ, up to about 20 minutes.
_LIMITS = [10 * 1.8**power for power in range(33)]


class Counter:
    """A count that only grows, for each combination of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, by: int = 1) -> None:
        """Count `by` more under these label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + by

    def lines(self) -> list[str]:
        """The samples, one a line."""
        with self._lock:
            values = sorted(self._values.items())
        return [f"{self.name}{{{_pairs(self._labels, key)}}} {value}" for key, value in values]


class Histogram:
    """A distribution of microseconds, for each combination of label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = tuple(labels)
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def observe(self, microseconds: float, *labels: str) -> None:
        """Add one measurement under these label values."""
        with self._lock:
            cell = self._cells.get(labels)
            if cell is None:
                cell = self._cells[labels] = ([0] * (len(_LIMITS) + 1), [0.0])
            counts, total = cell
            counts[bisect_left(_LIMITS, microseconds)] += 1
            total[0] += microseconds

    def lines(self) -> list[str]:
        """The cumulative buckets, the sum and the count of each cell."""
        with self._lock:
            cells = sorted((key, list(c), t[0]) for key, (c, t) in self._cells.items())
        lines = []
        for key, counts, total in cells:
            pairs = _pairs(self._labels, key)
            running = 0
            for limit, count in zip([*_LIMITS, None], counts, strict=True):
                running += count
                shown = "+Inf" if limit is None else f"{limit:g}"
                lines.append(f'{self.name}_bucket{{{pairs},le="{shown}"}} {running}')
            lines.append(f"{self.name}_sum{{{pairs}}} {total:g}")
            lines.append(f"{self.name}_count{{{pairs}}} {running}")
        return lines


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self.requests = Counter(":tensorflow:serving:request_count", ["model_name", "status"])
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency", ["model_name", "API", "entrypoint"]
        )
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", ["model_name", "API", "runtime"]
        )
        self.examples = Counter(":tensorflow:serving:request_example_count_total", ["model"])
        self.loads = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count", ["model_path", "status"]
        )

    def page(self) -> str:
        """All metrics in Prometheus' text format."""
        lines: list[str] = []
        for metric in (
            self.loads,
            self.examples,
            self.requests,
            self.request_latency,
            self.runtime_latency,
        ):
            samples = metric.lines()
            if samples:
                lines += [f"# TYPE {metric.name} {metric.kind}", *samples]
        return "\n".join(lines) + "\n"


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    escaped = (re.sub(r'([\\"])', r"\\\1", value).replace("\n", "\\n") for value in values)
    return ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
