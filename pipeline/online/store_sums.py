"""Checksums of an impression store's files: Arrow's own format has none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pipeline.online.spans import SpanError
from pipeline.whole_files import whole_file

SUMS_FILE = "checksums.json"


def write_sums(folder: Path, before: Path | None) -> None:
    """Writes the checksums of all files of a store.

    Args:
        folder: Of the store.
        before: Of the store before it: a file that is a link to one there has its checksum.
    """
    known = {} if before is None else read_sums(before)
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.name == SUMS_FILE:
            continue
        linked = before is not None and path.name in known and path.samefile(before / path.name)
        sums[path.name] = known[path.name] if linked else _digest(path)
    with whole_file(folder / SUMS_FILE) as partial:
        partial.write_text(json.dumps(sums, indent=1), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """By file name, its checksum; none where the store was written by an earlier release.

    Raises:
        SpanError: The file with the checksums is damaged.
    """
    try:
        sums = json.loads((folder / SUMS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(folder / SUMS_FILE, str(error)) from error
    return dict(sums)


def require_whole_store(folder: Path) -> None:
    """Reads all files of a store once.

    Raises:
        SpanError: One is not as it was written.
    """
    for name, digest in read_sums(folder).items():
        path = folder / name
        if not path.exists():
            raise _damaged(path, "it is absent")
        if _digest(path) != digest:
            raise _damaged(path, f"its checksum is not that in {SUMS_FILE}")


def _damaged(path: Path, what: str) -> SpanError:
    return SpanError(path, f"is damaged ({what})", "take the store of an earlier span")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
