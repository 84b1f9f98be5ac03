"""The engine of online learning: one span of logs after the other into the served model.

    engine = OnlineEngine(Workdir(path), dataset, settings)   # after one `easq run` in that folder
    engine.resume()
    for span in find_spans(logs):
        result = engine.process(span)

A long-lived object: TFX is imported, the model built and XLA's code compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.configs import RunSettings
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import DatasetConfig


@dataclass(frozen=True)
class SpanResult:
    """What became of one span.

    Attributes:
        number: of the span.
        name: of the span.
        counts: `counts.json` of its examples.
        prequential: metric → value of the model that had not seen the span; None: not known.
        blessed: whether the gate let the new model through.
        reason: why, or why not, in one sentence.
        version: the pushed version, or None.
        seconds: step → seconds.
    """

    number: int
    name: str
    counts: dict[str, Any]
    prequential: dict[str, float | None]
    blessed: bool
    reason: str
    version: int | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class StepEvent:
    """A step of a span started or finished; what the engine's listener hears."""

    step: str
    finished: bool


class OnlineEngine:
    """Learns spans in order, in the folder of a finished full fit.

    Args:
        workdir: where `easq run` fitted the transform graph and the first model.
        dataset: what the tables mean; that of the full fit.
        settings: of the run.
        listener: hears of each step.
    """

    def __init__(
        self,
        workdir: Workdir,
        dataset: DatasetConfig,
        settings: RunSettings,
        listener: Callable[[StepEvent], None] = lambda event: None,
    ) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        """Loads the newest good checkpoint and clears away what an interrupted span left."""
        raise NotImplementedError

    def process(self, span: Any) -> SpanResult:
        """Learns one span: examples, prequential test, training, gate, push."""
        raise NotImplementedError

    def rollback(self) -> int:
        """Puts the previous version back; returns it."""
        raise NotImplementedError
