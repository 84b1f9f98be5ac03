"""Folders of a bucket, for what can read and write files of this machine only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from pipeline.logs.places import is_remote


@contextmanager
def written_folder(uri: str) -> Iterator[Path]:
    """A folder to write into; when the block ends well, `uri` holds what was written.

    A local `uri` is that folder itself.
    """
    if not is_remote(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        for path in sorted(Path(folder).rglob("*")):
            target = f"{uri}/{path.relative_to(folder).as_posix()}"
            if path.is_dir():
                tf.io.gfile.makedirs(target)
            else:
                tf.io.gfile.makedirs(target.rpartition("/")[0])
                tf.io.gfile.copy(str(path), target, overwrite=True)


@contextmanager
def read_folder(uri: str) -> Iterator[Path]:
    """A folder with what `uri` holds; a local `uri` is that folder itself."""
    if not is_remote(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        for place, _, names in tf.io.gfile.walk(uri):
            here = Path(folder, place.removeprefix(uri).strip("/"))
            here.mkdir(parents=True, exist_ok=True)
            for name in names:
                tf.io.gfile.copy(f"{place.rstrip('/')}/{name}", str(here / name))
        yield Path(folder)
