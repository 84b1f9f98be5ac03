"""Spans: folders of logs that land one after the other, and when one of them is complete.

    spans/2026-11-22T05/impressions.parquet, questionnaires.parquet, _SUCCESS
    spans/2026-11-22T06/…
    spans/users.parquet, items.parquet          # shared, unless a span brings its own

A span is named by the day, hour or minute at which it begins (`2026-11-22`, `2026-11-22T05`,
`2026-11-22T0530`, in UTC) or by a number (`41`, `000041`, `span=41`); one folder holds spans of
one of these kinds. The number of a span follows from its name alone, so it stays the same
whatever lands before or after it: days, hours or minutes since 1970 of a dated one.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.logs.files import DATA_SUFFIXES

SUCCESS_FILE = "_SUCCESS"
_MINUTE_MS = 60_000
_DATED = re.compile(
    r"(?:[a-z]+=)?(?P<day>\d{4}-\d\d-\d\d)(?:T(?P<hour>\d\d)(?:-?(?P<minute>\d\d))?)?"
)
_NUMBERED = re.compile(r"(?:[a-z]+[=-])?(?P<number>\d{1,18})")
_FORMS = "2026-11-22, 2026-11-22T05, 2026-11-22T0530, 41 or span=41"
# Milliseconds from one number to the next.
_STEPS = {"day": 86_400_000, "hour": 3_600_000, "minute": _MINUTE_MS, "number": None}
_READ_BYTES = 1 << 20


class SpanError(Exception):
    """A span that cannot be taken, in one line that says what to do."""

    def __init__(self, place: str | Path, problem: str, remedy: str):
        self.place, self.problem, self.remedy = str(place), problem, remedy
        super().__init__(f"{place}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keeps the parts when a worker process hands the error on."""
        return SpanError, (self.place, self.problem, self.remedy)


@dataclass(frozen=True, order=True)
class Span:
    """One folder of logs.

    Attributes:
        number: follows from the name; spans are taken in the order of their numbers.
        name: of the folder.
        path: of the folder.
    """

    number: int
    name: str
    path: Path

    @classmethod
    def at(cls, path: str | Path) -> Span:
        """The span of a folder. Raises `SpanError` for a name that says no place in time."""
        path = Path(path)
        _, number = _place(path)
        return cls(number, path.name, path)

    @property
    def time_range_ms(self) -> tuple[int, int] | None:
        """When a dated span begins and ends; None of a numbered one."""
        kind, number = _place(self.path)
        step = _STEPS[kind]
        return None if step is None else (number * step, (number + 1) * step)


@dataclass(frozen=True)
class Fingerprint:
    """What tells the content of one span from another's.

    Attributes:
        files: by name, size in bytes and SHA-256 of each data file.
        digest: of all of it, names included.
    """

    files: dict[str, tuple[int, str]]
    digest: str


def fingerprint(span: Span) -> Fingerprint:
    """Reads all data files of a span once."""
    files = {}
    for path in data_files(span.path):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
        name = path.relative_to(span.path).as_posix()
        files[name] = (path.stat().st_size, digest.hexdigest())
    listed = "".join(f"{name} {size} {digest}\n" for name, (size, digest) in files.items())
    return Fingerprint(files, hashlib.sha256(listed.encode()).hexdigest())


def find_spans(
    folder: str | Path,
    *,
    settle_seconds: float | None = None,
    between: str | None = None,
    now: float | None = None,
) -> list[Span]:
    """The complete spans of a folder, in the order of their numbers.

    A span is complete when it holds a file `_SUCCESS`, or, with `settle_seconds`, when nothing in
    it changed for so long.

    Args:
        folder: holds the span folders. Hidden ones and those that begin with `_` are no spans.
        settle_seconds: None: only `_SUCCESS` counts.
        between: `A:B`, names or numbers, both included; one of them may be left out. A day
            stands for all its hours.
        now: seconds since 1970, for `settle_seconds`. Default: the clock.

    Raises:
        SpanError: no such folder, a folder whose name says no place in time, two of one number,
            names of different kinds, or a range that is none or of another kind.
    """
    spans = _all_spans(Path(folder))
    if between is not None:
        spans = _within(spans, between, folder)
    return [
        span
        for span in spans
        if incomplete_because(span, settle_seconds=settle_seconds, now=now) is None
    ]


def unfinished_spans(
    folder: str | Path, *, settle_seconds: float | None = None, now: float | None = None
) -> dict[str, str]:
    """The spans that are not complete: by name, why not. Raises `SpanError`."""
    reasons = {
        span.name: incomplete_because(span, settle_seconds=settle_seconds, now=now)
        for span in _all_spans(Path(folder))
    }
    return {name: why for name, why in reasons.items() if why is not None}


def incomplete_because(
    span: Span, *, settle_seconds: float | None = None, now: float | None = None
) -> str | None:
    """Why a span is not complete; None if it is."""
    if (span.path / SUCCESS_FILE).exists():
        return None
    if settle_seconds is None:
        return f"it holds no {SUCCESS_FILE} file"
    files = list(data_files(span.path))
    if not files:
        return f"it holds neither data nor a {SUCCESS_FILE} file"
    newest = max(path.stat().st_mtime for path in (span.path, *files))
    quiet = (time.time() if now is None else now) - newest
    if quiet >= settle_seconds:
        return None
    if quiet < 0:
        return (
            f"it holds no {SUCCESS_FILE} file and changed {-quiet:.0f} s from now: the clock of "
            f"whoever wrote it, or of this machine, is off; add {SUCCESS_FILE} once it is complete"
        )
    return f"it holds no {SUCCESS_FILE} file and changed {quiet:.0f} s ago"


def data_files(folder: Path) -> Iterator[Path]:
    """The table files in a folder, by name."""
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(DATA_SUFFIXES) and not path.name.startswith((".", "_")):
            yield path


def in_order(folder: str | Path, paths: Iterable[Path]) -> list[Span]:
    """The spans of folders that lie in one folder, in the order of their numbers.

    Args:
        folder: where they lie, for the error text.
        paths: of the folders, or their names. Hidden ones and those that begin with `_` are no
            spans.

    Raises:
        SpanError: a name that says no place in time, two of one number, or different kinds.
    """
    spans = sorted(Span.at(path) for path in paths if not path.name.startswith((".", "_")))
    kinds = {_place(span.path)[0]: span for span in spans}
    if len(kinds) > 1:
        names = " and ".join(span.name for span in kinds.values())
        raise SpanError(folder, f"holds spans of different kinds ({names})", "keep one kind")
    for before, after in itertools.pairwise(spans):
        if before.number == after.number:
            names = f"{before.name} and {after.name}"
            raise SpanError(folder, f"{names} are the same span", "keep one of them")
    return spans


def span_name(time_ms: int, step: str) -> str:
    """The name of the span of a time. `step`: `day` or `hour`."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d" if step == "day" else "%Y-%m-%dT%H")


def _all_spans(folder: Path) -> list[Span]:
    if not folder.is_dir():
        raise SpanError(folder, "no such folder", "give the folder that the spans land in")
    return in_order(folder, (path for path in folder.iterdir() if path.is_dir()))


def _within(spans: list[Span], between: str, folder: str | Path) -> list[Span]:
    """The spans of a range: a day or an hour as an end stands for all of it."""
    ends = between.split(":")
    try:
        if len(ends) != 2:
            raise ValueError
        first, last = (_place(Path(end)) if end else None for end in ends)
    except (ValueError, SpanError):
        raise SpanError(
            folder, f"'{between}' is no range of spans", f"write A:B, each like {_FORMS}"
        ) from None

    def begins(span: Span, end: tuple[str, int], after: int) -> bool:
        """Whether a span begins at or after an end, moved on by so many of its own steps."""
        kind, number = end
        if kind == "number":
            return span.number >= number + after
        if span.time_range_ms is None:
            raise SpanError(
                folder, f"'{between}' is a range of dates, but the spans have numbers", "give those"
            )
        return span.time_range_ms[0] >= (number + after) * (_STEPS[kind] or 1)

    return [
        span
        for span in spans
        if (first is None or begins(span, first, 0)) and (last is None or not begins(span, last, 1))
    ]


def _place(path: Path) -> tuple[str, int]:
    """The kind of a span's name and its number."""
    dated = _DATED.fullmatch(path.name)
    if dated is not None:
        hour, minute = dated["hour"], dated["minute"]
        kind = "minute" if minute else "hour" if hour else "day"
        try:
            moment = datetime.fromisoformat(f"{dated['day']}T{hour or '00'}:{minute or '00'}+00:00")
        except ValueError as error:
            raise SpanError(path, f"its name is no date ({error})", "rename it") from None
        return kind, int(moment.timestamp() * 1000) // (_STEPS[kind] or 1)
    numbered = _NUMBERED.fullmatch(path.name)
    if numbered is not None:
        return "number", int(numbered["number"])
    raise SpanError(path, "its name says no place in time", f"name it like {_FORMS}, or move it")
