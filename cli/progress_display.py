"""What a person sees of a run: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.progress import LOGGER


class ProgressDisplay(logging.Handler):
    """Shows each step of a run once it starts, its inner progress, and its time when it ends.

    A context manager; while it is active it listens to the logger `easq.progress`.

    Attributes:
        console: where everything for people is printed.
        seconds: time of every finished step, in the order of the steps.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self.console = Console(file=stream, soft_wrap=not stream.isatty(), highlight=False)
        self.seconds: dict[str, float] = {}
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._step = ""
        self._started = 0.0
        self._bar: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        LOGGER.addHandler(self)
        LOGGER.setLevel(logging.INFO)
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        LOGGER.removeHandler(self)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """One step; the yielded function sets the few words shown behind its time."""
        details: list[str] = []
        self.start(name)
        yield details.append
        self.finish(" ".join(details))

    def start(self, step: str) -> None:
        """A step begins."""
        self._step, self._started = step, time.monotonic()
        if self.console.is_terminal:
            self._bar = self._bars.add_task(step, total=None, unit="")

    def finish(self, detail: str = "") -> None:
        """The step that began last is done."""
        seconds = time.monotonic() - self._started
        self.seconds[self._step] = round(seconds, 2)
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None
        self.console.print(f"[green]✓[/green] {self._step:<26}{seconds:7.1f} s  {detail}".rstrip())

    def emit(self, record: logging.LogRecord) -> None:
        """Draws a progress record of `pipeline.progress`."""
        state = getattr(record, "progress", None)
        if self._bar is not None and state is not None:
            self._bars.update(
                self._bar,
                completed=state.done,
                total=state.total,
                unit=f"{state.unit} ({state.task})",
            )
        elif not self.console.is_terminal:
            self.console.print(f"  {record.getMessage()}")
