"""The log of a world as a stream lands: a folder an hour or a day, answers when they arrive.

    2024-01-01T00/impressions.parquet      what was shown in that hour
                  questionnaires.parquet   what was answered in it (whenever it was shown), and the
                                           questions of that hour that never will be
                  _SUCCESS
    2024-01-01T01/…
    users.parquet, items.parquet

The rows are those of `simulator.logs`. A folder appears whole, under its name, when it is finished.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulator.config import DAY_MS, SimulatorConfig
from simulator.logs import (
    IMPRESSIONS,
    QUESTIONNAIRES,
    ParquetFile,
    items_table,
    log_steps,
    users_table,
)
from simulator.world import World

STEPS_MS = {"hourly": 3_600_000, "daily": DAY_MS}
_FORMATS = {"hourly": "%Y-%m-%dT%H", "daily": "%Y-%m-%d"}
BASE = "_base"


def write_span_logs(
    config: SimulatorConfig,
    out_dir: str | Path,
    step: str,
    *,
    base_days: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Writes a folder an hour (`hourly`) or a day (`daily`), beside users and items.

    The same config gives the same bytes. In memory is what one span holds.

    Args:
        config: the world. Its end is the end of the log: answers later than that are not in it.
        out_dir: made if it is not there; span folders that are there are replaced.
        step: `hourly` or `daily`.
        base_days: the first days go, as one log, into the folder `_base`: for a full fit before
            the spans.
        progress: called now and then with the requests done and all of them.

    Returns:
        `spans`, rows of each table over all of them and the base, `answered`, and
        `after_the_end`: questionnaires left out.
    """
    if not 0 <= base_days < config.days:
        raise ValueError(f"base_days is {base_days}; expected less than the {config.days} days")
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    world = World(config)
    tables = {"users": users_table(world), "items": items_table(world)}
    for place in (folder, folder / BASE) if base_days else (folder,):
        _write(place, tables)
    base_end_ms = config.start_ms + base_days * DAY_MS
    landing = _Landing(folder, STEPS_MS[step], _FORMATS[step], base_end_ms)
    for impressions, questionnaires in log_steps(world):
        landing.add(impressions, questionnaires)
        if progress is not None:
            progress(config.requests - world.remaining, config.requests)
    counts = landing.finish(config.start_ms, config.start_ms + config.days * DAY_MS)
    return counts | {name: table.num_rows for name, table in tables.items()}


@dataclass
class _Landing:
    """Holds rows until the span in which they land is over. Span −1 is the base."""

    folder: Path
    step_ms: int
    name_format: str
    base_end_ms: int
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _shown: dict[int, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    _asked: dict[int, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    _written: set[int] = field(default_factory=set)

    def add(self, impressions: pa.Table, questionnaires: pa.Table) -> None:
        """Takes one step of the world and writes the spans that are over."""
        time_ms = impressions["time_ms"]
        # Who never answers is logged with the question.
        arrival_ms = pc.coalesce(questionnaires["answered_ms"], questionnaires["issued_ms"])
        for held, table, times in (
            (self._shown, impressions, time_ms),
            (self._asked, questionnaires, arrival_ms),
        ):
            span = self._span_of(times.to_numpy())
            for number in np.unique(span):
                held[int(number)].append(table.filter(pa.array(span == number)))
        newest = int(self._span_of(np.array([pc.max(time_ms).as_py()]))[0])
        for number in sorted(self._shown):
            if number < newest:
                self._write_span(number)

    def finish(self, start_ms: int, end_ms: int) -> dict[str, int]:
        """Writes what is left of the world's time, spans without a row included."""
        first = max(start_ms, self.base_end_ms) // self.step_ms
        for number in [*sorted(self._shown), *range(first, end_ms // self.step_ms)]:
            if number not in self._written:
                self._write_span(number)
        left = sum(table.num_rows for parts in self._asked.values() for table in parts)
        self.counts["after_the_end"] = left
        return dict(self.counts)

    def _span_of(self, time_ms: np.ndarray) -> np.ndarray:
        return np.where(time_ms < self.base_end_ms, -1, time_ms // self.step_ms)

    def _name(self, number: int) -> str:
        if number == -1:
            return BASE
        moment = datetime.fromtimestamp(number * self.step_ms / 1000, UTC)
        return moment.strftime(self.name_format)

    def _write_span(self, number: int) -> None:
        shown = pa.concat_tables([IMPRESSIONS.empty_table(), *self._shown.pop(number, ())])
        asked = pa.concat_tables([QUESTIONNAIRES.empty_table(), *self._asked.pop(number, ())])
        tables = {"impressions": shown, "questionnaires": asked}
        self._written.add(number)
        self.counts["spans"] += number != -1
        for name, table in tables.items():
            self.counts[name] += table.num_rows
        self.counts["answered"] += asked.num_rows - asked["answer"].null_count
        if number == -1:
            _write(self.folder / BASE, tables)
            return
        place = self.folder / self._name(number)
        unfinished = self.folder / f".{place.name}.partial"
        for old in (unfinished, place):
            shutil.rmtree(old, ignore_errors=True)
        _write(unfinished, tables)
        (unfinished / "_SUCCESS").touch()
        os.replace(unfinished, place)


def _write(folder: Path, tables: dict[str, pa.Table]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with ParquetFile(folder / f"{name}.parquet", table.schema) as file:
            file.add(table)
