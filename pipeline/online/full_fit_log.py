"""The impression store of the log that the full fit was made of, so that its impressions can still
be answered, and its requests are known when they land once more.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.online.impression_store import ImpressionStore, StoreLimits
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span, SpanError, data_files

# Before every span, whatever those are numbered by.
_NUMBER = -1
_FORGONE = "Answers to what was shown before the first span cannot be used"


class _WholeLog(Span):
    """A log of any length and name."""

    time_range_ms: ClassVar[None] = None


def store_of_full_fit(
    logs: str | None, dataset: DatasetConfig, folder: Path, limits: StoreLimits, *, holdout: float
) -> tuple[Path | None, str]:
    """Makes the store from which the first span goes on.

    It takes what a span of the log's size takes. Nothing of the log is learnt: that was done.

    Args:
        logs: the folder of the full fit's log; None: not known.
        dataset: what its tables mean.
        folder: for the store; what lies there is replaced.
        limits: of the store. Nor is a log read that is larger.
        holdout: share of the users that are held out.

    Returns:
        The store, None where there can be none; and what a person should know of it.
    """
    if logs is None or not Path(logs).is_dir():
        where = "not known" if logs is None else f"{logs}, which is no folder here"
        return None, f"{_FORGONE}: the log of the full fit is {where}."
    log = _WholeLog(_NUMBER, "the full fit", Path(logs))
    size = sum(path.stat().st_size for path in data_files(log.path))
    if size > limits.max_bytes:
        return None, (
            f"{_FORGONE}: the log of the full fit in {logs} has {size:,} bytes, more than "
            f"online.store_bytes, {limits.max_bytes:,}."
        )
    shutil.rmtree(folder, ignore_errors=True)
    examples, store = folder / "examples", folder / "store"
    try:
        write_span_examples(
            log, dataset, None, examples, store, holdout=holdout, limits=limits, shared=log.path
        )
    except (LogError, SpanError) as error:
        return None, f"{_FORGONE}: {error}."
    shutil.rmtree(examples)
    slates = sum(segment.info.slates for segment in ImpressionStore.open(store, dataset).segments)
    return store, f"{slates:,} slates of the full fit may still be answered."
