"""Writing what ExampleGen makes: record files, dead letters, counts. Local or remote paths."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from pipeline.logs.places import is_remote

COUNTS_FILE = "counts.json"
DEAD_LETTERS_FOLDER = "dead_letters"
# In the artifact until the last step has ended.
UNFINISHED_FOLDER = "unfinished"


class OutputFolder:
    """The folder of one Examples artifact.

    Every file is written under another name first and then renamed, so that a worker that dies
    or is started twice leaves no half file.

    Args:
        uri: the artifact's folder.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def write_records(self, split: str, number: int, records: Iterable[list[bytes]]) -> None:
        """Writes one uncompressed TFRecord file of a split (compressing would take most time)."""
        unfinished = self._unfinished_path()
        with tf.io.TFRecordWriter(unfinished) as writer:
            for chunk in records:
                for record in chunk:
                    writer.write(record)
        self._finish(unfinished, f"Split-{split}/slates-{number:05d}.tfrecord")

    def write_dead_letters(self, table: str, file_number: int, letters: pa.Table) -> None:
        """Writes the dead letters of one file of a log table."""
        buffer = io.BytesIO()
        pq.write_table(letters, buffer)
        name = f"{DEAD_LETTERS_FOLDER}/{table}-{file_number:05d}.parquet"
        self._write(buffer.getvalue(), name)

    def write_counts(self, report: dict[str, Any]) -> None:
        """Writes `counts.json`."""
        self._write((json.dumps(report, indent=2) + "\n").encode(), COUNTS_FILE)

    def read_counts(self) -> dict[str, Any]:
        """The content of `counts.json`."""
        with tf.io.gfile.GFile(os.path.join(self.uri, COUNTS_FILE)) as file:
            return json.loads(file.read())

    @property
    def shuffle_folder(self) -> str | None:
        """Where tables may wait for the next step; None where only whole files can be written."""
        if is_remote(self.uri):
            return None
        return os.path.join(self.uri, UNFINISHED_FOLDER, "shuffled")

    def tidy(self) -> None:
        """Removes what waited for a next step or was not finished, when all steps have ended."""
        folder = os.path.join(self.uri, UNFINISHED_FOLDER)
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)

    def _unfinished_path(self) -> str:
        folder = os.path.join(self.uri, UNFINISHED_FOLDER)
        tf.io.gfile.makedirs(folder)
        return os.path.join(folder, uuid.uuid4().hex)

    def _write(self, content: bytes, name: str) -> None:
        unfinished = self._unfinished_path()
        with tf.io.gfile.GFile(unfinished, "wb") as file:
            file.write(content)
        self._finish(unfinished, name)

    def _finish(self, unfinished: str, name: str) -> None:
        path = os.path.join(self.uri, name)
        tf.io.gfile.makedirs(os.path.dirname(path))
        tf.io.gfile.rename(unfinished, path, overwrite=True)
