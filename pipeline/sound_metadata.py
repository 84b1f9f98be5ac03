"""Whether the metadata database is still what the last run left.

SQLite tells a page that makes no sense, but has no checksums: a changed name or path looks like any
other. So whoever writes the database leaves the checksum of the whole file when it is done; one
that was killed leaves none, and the next run looks at the pages alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipeline.whole_files import write_in_one_step

_REMEDY = (
    "Take it from a backup, or delete it: every component then runs again, and the model is "
    "compared with none that was blessed before. Pushed versions stay as they are."
)


@contextlib.contextmanager
def sound_metadata(database: Path) -> Iterator[None]:
    """Looks through a database that the block may write to, and seals it at the end.

    Raises:
        RuntimeError: It is damaged.
    """
    seal = database.with_name(f"{database.name}.sha256")
    if database.exists():
        _require_sound(database, seal)
    seal.unlink(missing_ok=True)
    try:
        yield
    finally:
        if database.exists():
            write_in_one_step(seal, _digest(database))


def _require_sound(database: Path, seal: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(database)) as opened:
            (found,) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        line = found.strip().splitlines()[-1]
        raise RuntimeError(f"{database}: the metadata database is damaged ({line}). {_REMEDY}")
    if seal.exists() and seal.read_bytes().strip() != _digest(database).encode():
        raise RuntimeError(
            f"{database}: the metadata database is not what the last run left: it, or its checksum "
            f"in {seal.name}, is damaged or was replaced. {_REMEDY} Where you put it there "
            f"yourself, delete {seal.name}."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
