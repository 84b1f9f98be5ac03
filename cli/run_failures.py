"""What a failed run says where the cause is neither its settings nor its logs."""

from __future__ import annotations

import errno
import re
import shutil
from typing import TYPE_CHECKING

from cli.errors import JobError, first_cause

if TYPE_CHECKING:
    from pipeline.local_runner import Workdir

_DAMAGED = re.compile(r"corrupted record|truncated record|valid TFRecord|DataLoss", re.IGNORECASE)
_FULL = re.compile(r"No space left on device|disk is full|Disk quota exceeded", re.IGNORECASE)


def cause_in(place: Workdir, error: BaseException) -> str:
    """The one line of `first_cause`, in words that name what a person can do about it."""
    said = _all_said(error)
    if _FULL.search(said):
        return _no_space(place)
    if _DAMAGED.search(said):
        from pipeline.record_files import damaged_record

        # Newest first: those of earlier runs matter to nobody.
        runs = (place.pipeline_root / "LogExampleGen" / "examples").glob("[0-9]*")
        for examples in sorted(runs, key=lambda path: int(path.name), reverse=True):
            found = damaged_record([str(path) for path in examples.glob("Split-*/*.tfrecord")])
            if found:
                return found
    return first_cause(error)


def failure(place: Workdir, error: Exception) -> JobError:
    """How a command ends that failed outside the components."""
    return JobError(_no_space(place)) if _FULL.search(_all_said(error)) else JobError.of(error)


def _no_space(place: Workdir) -> str:
    free = shutil.disk_usage(place.root).free / 2**20
    return (
        f"no space left on the disk of {place.root.resolve()} ({free:,.0f} MiB free); make room "
        "and run the same command again: it goes on after the last finished component"
    )


def _all_said(error: BaseException | None) -> str:
    parts = []
    while error is not None:
        parts.append(str(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            parts.append("No space left on device")
        error = error.__cause__ or error.__context__
    return "\n".join(parts)
