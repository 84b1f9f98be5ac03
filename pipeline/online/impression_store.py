"""What a span has to know of those before it, on disk, in bounded space.

    store.json                clock, processed spans, segments; without it there is no store
    waiting.arrow             answers whose impression has not landed yet
    activity.arrow            how often each item was liked and each user asked, over all segments
    span-<n>.keys.arrow       sorted keys of what the span brought: requests, candidates that may
                              still be answered, consumed answers, answered slates by user
    span-<n>.slates.arrow     slates that may still be answered, as pieces of their examples
    span-<n>.answered.arrow   the slates answered in the span, for later pair groups
    span-<n>.activity.arrow   its share of activity.arrow

A store is never changed: a span makes a new one out of the one before it. The files of a segment
are hard links, so that this costs nothing and old stores can be deleted in any order. A segment
leaves with its newest impression's window, or as the oldest when the store is full, so that size
and time depend on the window and not on history. Where there are very many, old ones are merged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.example_gen.answers import MS_PER_HOUR
from pipeline.example_gen.columnar import Bools
from pipeline.logs.checked import require
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.readers import QUESTIONNAIRE_ROWS
from pipeline.online.arrow_files import read_table, write_table
from pipeline.online.keys import Keys, found_in
from pipeline.online.segment_merge import few_segments
from pipeline.online.segments import (
    ACTIVITY,
    PARTS,
    Segment,
    SegmentContent,
    SegmentInfo,
    add_activity,
    write_segment,
)
from pipeline.online.spans import Fingerprint, Span, SpanError
from pipeline.online.store_sums import write_sums
from pipeline.whole_files import whole_file

MANIFEST = "store.json"
STORE_WAITING, STORE_ACTIVITY = "waiting.arrow", "activity.arrow"
_FORMAT = 1
# Spans of before are told from new ones by name; so many names are remembered.
_REMEMBERED_SPANS = 10_000

# Answers that wait: canonical rows, and the file each is from.
WAITING_ROWS = pa.schema(
    [*(field for field in QUESTIONNAIRE_ROWS if field.name != "_file"), ("_name", pa.string())]
)


@dataclass(frozen=True)
class StoreLimits:
    """How much is kept. Windows are in the dataset config (`pair_window.hours`).

    Attributes:
        delay_hours: how late a row may land. An answer waits so long for its impression, and
            what the window would let go is kept so much longer.
        max_bytes: of all segments on disk; the oldest leave first.
        max_waiting: answers that wait for their impression; the oldest leave first.
    """

    delay_hours: float = 24.0
    max_bytes: int = 8 << 30
    max_waiting: int = 100_000

    def __post_init__(self) -> None:
        require(self.delay_hours >= 0, "delay_hours", self.delay_hours, "0 or more")
        require(self.max_bytes >= 1, "max_bytes", self.max_bytes, "1 or more")
        require(self.max_waiting >= 0, "max_waiting", self.max_waiting, "0 or more")

    @property
    def delay_ms(self) -> float:
        return self.delay_hours * MS_PER_HOUR


@dataclass(frozen=True)
class ProcessedSpan:
    """A span that is in the store: its number, name and the digest of its fingerprint."""

    number: int
    name: str
    digest: str


class ImpressionStore:
    """A store as one span left it, or an empty one.

    Attributes:
        folder: where it lies; None: it is empty.
        clock_ms: the newest time seen so far; 0 at the beginning.
        pair_groups: how many were numbered so far.
        processed: the spans so far, in the order in which they were taken.
        segments: what is left of them, in that order.
    """

    def __init__(self, folder: Path | None, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.clock_ms: int = content["clock_ms"]
        self.pair_groups: int = content["pair_groups"]
        self.processed = tuple(ProcessedSpan(*span) for span in content["processed"])
        infos = [SegmentInfo(**segment) for segment in content["segments"]]
        self.segments = tuple(Segment(folder or Path(), info) for info in infos)

    @classmethod
    def empty(cls) -> ImpressionStore:
        """The store before the first span."""
        return cls(None, {"clock_ms": 0, "pair_groups": 0, "processed": (), "segments": ()})

    @classmethod
    def open(cls, folder: str | Path, dataset: DatasetConfig) -> ImpressionStore:
        """The store in a folder.

        Raises:
            SpanError: there is none, it holds slates of other features, or its user ids were hashed
                with another key.
        """
        folder = Path(folder)
        try:
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SpanError(
                folder, "holds no impression store", "take the one of the last finished span"
            ) from None
        except ValueError as error:
            raise SpanError(folder / MANIFEST, f"is damaged ({error})", _START_AGAIN) from None
        if content["format"] != _FORMAT:
            found = f"the store is of format {content['format']}, not {_FORMAT}"
            raise SpanError(folder, found, _START_AGAIN)
        if content["layout"] != _layout(dataset):
            problem = "the slates in the store have other features than the dataset config"
            raise SpanError(folder, problem, f"use the config it was made with, or {_START_AGAIN}")
        if content.get("user_id_key") != _user_id_key(dataset):
            problem = "its user ids were hashed with another key, or not hashed"
            remedy = "give the key it was made with as privacy.user_id_key_file"
            raise SpanError(folder, problem, f"{remedy}, or {_START_AGAIN}")
        return cls(folder, content)

    @property
    def waiting(self) -> pa.Table:
        """The answers that wait for their impression, see `WAITING_ROWS`."""
        if self.folder is None:
            return WAITING_ROWS.empty_table()
        return read_table(self.folder / STORE_WAITING)

    @property
    def activity(self) -> pa.Table:
        """Likes of each item and requests of each user over all segments, see `ACTIVITY`."""
        if self.folder is None:
            return ACTIVITY.empty_table()
        return read_table(self.folder / STORE_ACTIVITY)

    def is_new(self, span: Span, mark: Fingerprint) -> bool:
        """Whether a span was not taken yet.

        Raises:
            SpanError: it was, and its files are others now; or its files were taken before, under
                another name.
        """
        for done in self.processed:
            same = done.digest == mark.digest
            if done.name == span.name or done.number == span.number:
                if same:
                    return False
                raise SpanError(
                    span.path,
                    "its files changed after it was learnt",
                    "put them back, and what is new into a span of its own",
                )
            if same and mark.files:
                raise SpanError(
                    span.path,
                    f"holds the same files as {done.name}, which was learnt already",
                    "remove it",
                )
        return True

    def requests_seen(self, keys: Keys) -> Bools:
        """Which requests landed in an earlier span."""
        return self._in_any("request", keys)

    def consumed(self, keys: Keys) -> Bools:
        """Which candidates' answers were used before."""
        return self._in_any("consumed", keys)

    def _in_any(self, name: str, keys: Keys) -> Bools:
        found = np.zeros(len(keys), np.bool_)
        for segment in self.segments:
            found |= found_in(keys, segment.keys[name])
        return found


@dataclass(frozen=True)
class StoreReport:
    """The size of a new store, and what it let go."""

    spans: int
    slates: int
    bytes: int
    waiting: int
    expired_spans: int
    dropped_spans: int
    dropped_slates: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def write_store(
    folder: str | Path,
    before: ImpressionStore,
    span: Span,
    mark: Fingerprint,
    content: SegmentContent | None,
    dataset: DatasetConfig,
    limits: StoreLimits,
    *,
    waiting: pa.Table,
    clock_ms: int,
    pair_groups: int,
) -> StoreReport:
    """Writes the store after a span; what lies in the folder is replaced.

    Args:
        folder: of the new store.
        before: the store before the span.
        span, mark: the span and its fingerprint.
        content: what it adds; None where it held nothing.
        dataset, limits: what decides how long a segment stays.
        waiting: the answers that wait from now on.
        clock_ms: the newest time seen.
        pair_groups: how many there were so far.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        path.unlink()
    window_ms = dataset.pair_window.hours * MS_PER_HOUR + limits.delay_ms
    alive = [
        segment for segment in before.segments if segment.info.newest_ms + window_ms >= clock_ms
    ]
    expired = [segment for segment in before.segments if segment not in alive]
    added = [] if content is None else [write_segment(folder, span.number, content)]
    room = limits.max_bytes - sum(segment.info.bytes for segment in added)
    kept = _newest_that_fit(alive, room)
    for segment in kept:
        for part in PARTS:
            _link(segment.path(part), folder)
    kept_here = [Segment(folder, segment.info) for segment in kept]
    gone = [segment for segment in before.segments if segment not in kept]
    activity = add_activity(
        before.activity,
        [segment.activity for segment in added],
        [segment.activity for segment in gone],
    )
    write_table(folder / STORE_ACTIVITY, activity)
    write_table(folder / STORE_WAITING, waiting)
    segments = few_segments([*kept_here, *added], folder)
    done = ProcessedSpan(span.number, span.name, mark.digest)
    manifest = {
        "format": _FORMAT,
        "layout": _layout(dataset),
        "user_id_key": _user_id_key(dataset),
        "clock_ms": clock_ms,
        "pair_groups": pair_groups,
        "processed": [
            [each.number, each.name, each.digest]
            for each in (*before.processed, done)[-_REMEMBERED_SPANS:]
        ],
        "segments": [asdict(segment.info) for segment in segments],
    }
    with whole_file(folder / MANIFEST) as partial:
        partial.write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    write_sums(folder, before.folder)
    full = [segment for segment in alive if segment not in kept]
    return StoreReport(
        spans=_spans(segments),
        slates=sum(segment.info.slates for segment in segments),
        bytes=sum(segment.info.bytes for segment in segments),
        waiting=waiting.num_rows,
        expired_spans=_spans(expired),
        dropped_spans=_spans(full),
        dropped_slates=sum(segment.info.slates for segment in full),
    )


def remove_old_stores(folders: Sequence[str | Path], keep: int) -> list[Path]:
    """Deletes all but the last `keep` of the stores (oldest first); returns what was deleted."""
    old = [Path(folder) for folder in (folders[:-keep] if keep else folders)]
    for folder in old:
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return old


_START_AGAIN = "begin again with an empty store"


def _layout(dataset: DatasetConfig) -> str:
    """What the columns of the stored slates depend on."""
    columns = {
        "features": [[each.name, each.level, each.kind] for each in dataset.features],
        "behaviours": [list(dataset.behaviours.columns), list(dataset.behaviours.positive)],
        "max_level": dataset.behaviours.max_level,
        "truth": dataset.columns.true_satisfaction is not None,
        "request": dataset.columns.request_id,
    }
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()


def _user_id_key(dataset: DatasetConfig) -> str | None:
    key = dataset.privacy.user_id_key()
    return None if key is None else key.fingerprint


def _spans(segments: Iterable[Segment]) -> int:
    return sum(segment.info.spans for segment in segments)


def _newest_that_fit(segments: Sequence[Segment], room: int) -> list[Segment]:
    kept = []
    for segment in reversed(segments):
        room -= segment.info.bytes
        if room < 0:
            break
        kept.append(segment)
    return kept[::-1]


def _link(path: Path, folder: Path) -> None:
    target = folder / path.name
    try:
        os.link(path, target)
    except OSError:  # another file system
        with whole_file(target) as partial:
            shutil.copyfile(path, partial)
