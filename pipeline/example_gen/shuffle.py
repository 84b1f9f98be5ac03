"""Tables as Beam moves them: cut by a hash of the user, serialized in Arrow's IPC format."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.example_gen.columnar import text_hashes

# Compressed well rather than fast: it is moved over networks, or written to a disk.
COMPRESSED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


class InFile(NamedTuple):
    """Bytes that wait in a file."""

    path: str
    start: int
    size: int


Sent = bytes | InFile


class Shuffle:
    """How tables get to a later step: in the element itself, or by way of a file.

    Runners for clusters keep on disk what they shuffle. Those of one machine keep it in memory,
    several times over, so that there a large log has to wait in files.

    Args:
        folder: For files, seen by all workers, to be removed when the pipeline has ended. None: the
            runner moves the bytes.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def send(self, tables: Iterable[pa.Table]) -> Iterator[Sent]:
        """What to put into the elements, a table each; `from_bytes` reads it."""
        if self._folder is None:
            yield from map(to_bytes, tables)
            return
        os.makedirs(self._folder, exist_ok=True)
        path = os.path.join(self._folder, uuid.uuid4().hex)
        start = 0
        try:
            with open(path, "xb") as file:
                for table in tables:
                    content = to_bytes(table)
                    file.write(content)
                    file.flush()  # whoever is sent it may read it at once
                    yield InFile(path, start, len(content))
                    start += len(content)
        except OSError as error:  # a write's own error does not say where
            raise OSError(error.errno, error.strerror, path) from error


def to_bytes(table: pa.Table) -> bytes:
    """The table in Arrow's IPC stream format, small."""
    table = table.combine_chunks()
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(index, field.name, table.column(index).dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=COMPRESSED) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(parts: Iterable[Sent]) -> pa.Table:
    """One table of all parts (at least one)."""
    return pa.concat_tables([_read(part) for part in parts])


def _content(part: Sent) -> bytes:
    if not isinstance(part, InFile):
        return part
    with open(part.path, "rb") as file:
        file.seek(part.start)
        return file.read(part.size)


def _read(part: Sent) -> pa.Table:
    table = pa.ipc.open_stream(_content(part)).read_all()
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))
    return table


def shards_of(table: pa.Table, column: str, shards: int) -> Iterator[tuple[int, pa.Table]]:
    """Cuts a table so that equal ids of a text column are in the same shard.

    Yields:
        Every shard in turn, also those without a row.
    """
    hashed = text_hashes(table.column(column))
    shard = (hashed % np.uint64(shards)).astype(np.int64)
    order = np.argsort(shard, kind="stable")
    ends = np.searchsorted(shard[order], np.arange(shards + 1))
    by_shard = table.take(pa.array(order))
    for number in range(shards):
        yield number, by_shard.slice(ends[number], ends[number + 1] - ends[number])
