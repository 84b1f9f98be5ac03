"""Many small segments of the impression store as one, so that spans may be as short as a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.example_gen.columnar import ABSENT
from pipeline.online.arrow_files import read_table
from pipeline.online.segments import (
    PARTS,
    Segment,
    SegmentContent,
    add_activity,
    write_segment,
)

# Where there are more segments of one span, so many of the oldest become one: a span looks into
# each of them.
MOST_SEGMENTS, MERGED_TOGETHER = 256, 32

_SORTED_BY = {"candidate": ("candidate", "candidate_ms"), "arrival": ("arrival_user", "arrival_ms")}


def few_segments(segments: list[Segment], folder: Path) -> list[Segment]:
    """The segments in a folder, the oldest of one span merged into one if there are too many."""
    single = [segment for segment in segments if segment.info.spans == 1]
    if len(single) <= MOST_SEGMENTS:
        return segments
    old = single[:MERGED_TOGETHER]
    content = merged(old)
    for segment in old:
        for part in PARTS:
            segment.path(part).unlink()
    one = write_segment(folder, old[-1].info.number, content, spans=len(old))
    rest = [segment for segment in segments if segment not in old[:-1]]
    return [one if segment is old[-1] else segment for segment in rest]


def merged(segments: Sequence[Segment]) -> SegmentContent:
    """What several segments hold, as one span would have left it."""
    slates = [read_table(segment.path("slates")) for segment in segments]
    answered = [read_table(segment.path("answered")) for segment in segments]
    all_keys = [segment.keys for segment in segments]
    keys: dict[str, NDArray[Any]] = {
        name: np.unique(np.concatenate([keys[name] for keys in all_keys]))
        for name in ("request", "consumed")
    }
    # Numbers of rows go on where the segment before ended.
    rows = {
        "candidate_slate": _moved(all_keys, "candidate_slate", slates),
        "arrival_row": _moved(all_keys, "arrival_row", answered),
    }
    for group, (first, second) in _SORTED_BY.items():
        columns = {
            name: rows[name] if name in rows else np.concatenate([keys[name] for keys in all_keys])
            for name in all_keys[0]
            if name.startswith(group)
        }
        order = np.lexsort((columns[second], columns[first]))
        keys |= {name: column[order] for name, column in columns.items()}
    first_activity, *others = (segment.activity for segment in segments)
    return SegmentContent(
        newest_ms=max(segment.info.newest_ms for segment in segments),
        keys=keys,
        slates=pa.concat_tables(slates),
        answered=pa.concat_tables(answered),
        activity=add_activity(first_activity, others),
    )


def _moved(
    all_keys: Sequence[dict[str, NDArray[Any]]], name: str, tables: Sequence[pa.Table]
) -> NDArray[np.int32]:
    sizes = [table.num_rows for table in tables]
    starts = np.cumsum([0, *sizes[:-1]])
    parts = [
        np.where(keys[name] == ABSENT, ABSENT, keys[name] + start)
        for keys, start in zip(all_keys, starts, strict=True)
    ]
    return np.concatenate(parts).astype(np.int32)
