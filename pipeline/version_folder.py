"""A version of the served model: in the serving folder as a whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.logs.places import is_remote
from pipeline.whole_files import sync_folder

# In the format of `sha256sum`: run in the version's folder, `sha256sum -c assets.extra/SHA256SUMS`
# tells whether the version is still what was pushed. `python -m serving` looks before it loads one.
CHECKSUMS = "assets.extra/SHA256SUMS"
# Servers take what it describes for a version as soon as it is there.
_LAST = "saved_model.pb"


@contextlib.contextmanager
def new_version(serving_dir: str, number: int) -> Iterator[Path]:
    """Gives a folder to put a model into; when the block ends well, it is the version `number`.

    On a file system the folder takes its name in one step, with all its files on disk. In a
    bucket, where nothing can be renamed, `saved_model.pb` arrives last.

    Args:
        serving_dir: The model's base path; made if it is not there.
        number: The version, which is not there yet.
    """
    if is_remote(serving_dir):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            write_checksums(Path(folder))
            _copy_to_bucket(Path(folder), f"{serving_dir}/{number}")
        return
    base = Path(serving_dir)
    incoming = base / f".incoming-{number}"
    # What was killed before left it: on a full disk they would add up.
    for abandoned in base.glob(".incoming-*"):
        shutil.rmtree(abandoned)
    incoming.mkdir(parents=True)
    try:
        yield incoming
        write_checksums(incoming)
        for path in incoming.rglob("*"):
            if path.is_file():
                with path.open("rb") as opened:
                    os.fsync(opened.fileno())
        os.rename(incoming, base / str(number))
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    sync_folder(base)


def next_number(serving_dir: str, now: float) -> int:
    """The time in seconds, or one more than the newest version where the clock was put back.

    Servers take the largest number for the newest version.
    """
    from tfx.dsl.io import fileio  # knows all buckets that TFX knows

    names = fileio.listdir(serving_dir) if fileio.exists(serving_dir) else []
    versions = [int(name.rstrip("/")) for name in names if name.rstrip("/").isdecimal()]
    return max(int(now), *(number + 1 for number in versions), 1)


def write_checksums(version: Path) -> None:
    """Writes `CHECKSUMS` of all files that are there."""
    sums = []
    for path in sorted(path for path in version.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sums.append(f"{digest}  {path.relative_to(version).as_posix()}\n")
    place = version / CHECKSUMS
    place.parent.mkdir(exist_ok=True)
    place.write_text("".join(sums), encoding="utf-8")


def _copy_to_bucket(folder: Path, uri: str) -> None:
    from tfx.dsl.io import fileio

    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in sorted(files, key=lambda name: (name == _LAST, name)):
        fileio.makedirs(f"{uri}/{name}".rpartition("/")[0])
        fileio.copy(str(folder / name), f"{uri}/{name}", overwrite=True)
