"""The record files of an Examples artifact: whether they still are what ExampleGen wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import tensorflow as tf

SIZES_FILE = "files.json"
_AGAIN = "run again with --no-cache (enable_cache: false), so that ExampleGen makes it anew"


class DamagedExamplesError(RuntimeError):
    """A record file that is not as ExampleGen left it; the message names it."""


def write_sizes(folder: str) -> None:
    """Writes the sizes of a folder's files beside them.

    Each record carries a checksum, so a changed one is noticed by whoever reads it; that records
    at the end, or whole files, are missing shows in the sizes alone.
    """
    sizes = {}
    for place, _, names in tf.io.gfile.walk(folder):
        for name in set(names) - {SIZES_FILE}:  # that of an earlier try
            path = os.path.join(place, name)
            sizes[os.path.relpath(path, folder)] = tf.io.gfile.stat(path).length
    with tf.io.gfile.GFile(os.path.join(folder, SIZES_FILE), "w") as file:
        file.write(json.dumps(dict(sorted(sizes.items())), indent=1))


def require_whole(folder: str) -> None:
    """Looks at the sizes of an Examples artifact's files; those of other ExampleGens have none.

    Raises:
        DamagedExamplesError: A file is missing, or has another size than when it was written.
    """
    place = os.path.join(folder, SIZES_FILE)
    if not tf.io.gfile.exists(place):
        return
    with tf.io.gfile.GFile(place) as file:
        try:
            sizes = json.loads(file.read())
        except ValueError as error:
            raise DamagedExamplesError(f"{place} is damaged ({error}); {_AGAIN}") from error
    for name, size in sizes.items():
        path = os.path.join(folder, name)
        if not tf.io.gfile.exists(path):
            raise DamagedExamplesError(f"{path} was written and is not there; {_AGAIN}")
        found = tf.io.gfile.stat(path).length
        if found != size:
            raise DamagedExamplesError(f"{path} has {found} bytes, {size} were written; {_AGAIN}")


def damaged_record(files: Sequence[str]) -> str | None:
    """Which file, and which record of it, cannot be read; `None` where all can."""
    for path in sorted(files):
        read = 0
        try:
            for _ in tf.data.TFRecordDataset(path):
                read += 1
        except tf.errors.OpError as error:
            said = error.message.rpartition("}} ")[2].partition("\n")[0]
            return f"{path} is damaged after {read} records ({said}); {_AGAIN}"
    return None
