"""What one span left in the impression store: keys to search, slates, answered slates, activity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from pipeline.example_gen.columnar import Ints
from pipeline.online.arrow_files import (
    READ_OFTEN,
    read_arrays,
    read_rows,
    read_table,
    write_arrays,
    write_table,
)

_KEYS, _SLATES, _ANSWERED, _ACTIVITY = "keys", "slates", "answered", "activity"
# A segment is a file of each.
PARTS = (_KEYS, _SLATES, _ANSWERED, _ACTIVITY)
# `what` is item or user.
ACTIVITY = pa.schema([("what", pa.string()), ("id", pa.string()), ("number", pa.int64())])


@dataclass(frozen=True)
class SegmentInfo:
    """One segment in the manifest: its (last) span, newest time (ms), slates, arrivals, size, and
    of how many spans it is, and how often users were taken out of it.
    """

    number: int
    newest_ms: int
    slates: int
    arrivals: int
    bytes: int
    spans: int
    edition: int = 0


@dataclass(frozen=True)
class SegmentContent:
    """What a span adds to the store.

    Attributes:
        newest_ms: of its impressions and answers.
        keys: see `Segment`.
        slates, answered: in pieces, see `pipeline.online.slate_pieces`; `answered` without those
            of held-out users.
        activity: see `ACTIVITY`.
    """

    newest_ms: int
    keys: Mapping[str, NDArray[Any]]
    slates: pa.Table
    answered: pa.Table
    activity: pa.Table


class Segment:
    """What one span left in the store, read as it is asked for.

    `keys` holds, sorted by the first of each group:
        request: of every request of the span.
        candidate, candidate_ms, candidate_slate (−1: it may not be answered), candidate_at (place
            in the slate), candidate_exposed, candidate_triggered.
        consumed: answers that were used, whatever span their impression is from.
        arrival_user, arrival_ms, arrival_row (in `answered`), arrival_request,
            arrival_satisfied, arrival_dissatisfied.
    """

    def __init__(self, folder: Path, info: SegmentInfo) -> None:
        self.info = info
        self._folder = folder

    @cached_property
    def keys(self) -> dict[str, NDArray[Any]]:
        return read_arrays(self.path(_KEYS))

    def slates(self, rows: Ints) -> pa.Table:
        """Slates that may still be answered, by row."""
        return read_rows(self.path(_SLATES), rows)

    def answered(self, rows: Ints) -> pa.Table:
        """Answered slates, by row."""
        return read_rows(self.path(_ANSWERED), rows)

    @property
    def activity(self) -> pa.Table:
        return read_table(self.path(_ACTIVITY))

    def path(self, part: str) -> Path:
        edition = f"-{self.info.edition}" if self.info.edition else ""
        return self._folder / f"span-{self.info.number}{edition}.{part}.arrow"


def write_segment(
    folder: Path, number: int, content: SegmentContent, spans: int = 1, edition: int = 0
) -> Segment:
    """Writes the files of a segment into the folder of a store."""
    info = SegmentInfo(
        number,
        content.newest_ms,
        content.slates.num_rows,
        content.answered.num_rows,
        bytes=0,
        spans=spans,
        edition=edition,
    )
    segment = Segment(folder, info)
    write_arrays(segment.path(_KEYS), content.keys)
    write_table(segment.path(_SLATES), content.slates)
    # A new answer's pair group holds the user's earlier ones, whatever segments those are in.
    write_table(segment.path(_ANSWERED), content.answered, READ_OFTEN)
    write_table(segment.path(_ACTIVITY), content.activity)
    size = sum(segment.path(part).stat().st_size for part in PARTS)
    return Segment(folder, SegmentInfo(**{**asdict(info), "bytes": size}))


def add_activity(
    total: pa.Table, added: Iterable[pa.Table], gone: Iterable[pa.Table] = ()
) -> pa.Table:
    """The sums of `ACTIVITY` tables, less those that are gone."""
    minus = []
    for table in gone:
        negative = -table.column("number").to_numpy()
        at = table.schema.get_field_index("number")
        minus.append(table.set_column(at, "number", pa.array(negative, pa.int64())))
    together = pa.concat_tables([total, *added, *minus])
    summed = together.group_by(["what", "id"]).aggregate([("number", "sum")])
    summed = summed.rename_columns(ACTIVITY.names).cast(ACTIVITY)
    summed = summed.filter(pa.array(summed.column("number").to_numpy() != 0))
    return summed.sort_by([("what", "ascending"), ("id", "ascending")])
