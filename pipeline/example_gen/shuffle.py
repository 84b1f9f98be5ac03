"""Tables as Beam moves them: cut by a hash of the user, serialized in Arrow's IPC format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline.example_gen.columnar import text_hashes

# Compressed well rather than fast: runners hold what is shuffled in memory, several times over.
COMPRESSED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


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


def from_bytes(parts: Iterable[bytes]) -> pa.Table:
    """One table of all parts (at least one)."""
    return pa.concat_tables([_read(part) for part in parts])


def _read(part: bytes) -> pa.Table:
    table = pa.ipc.open_stream(part).read_all()
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
