"""Small Arrow files: arrays to search without reading them, tables of which some rows are read.

Every file is written under another name first and then renamed: no name ever stands for half a
file. The same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.example_gen.columnar import Ints
from pipeline.example_gen.shuffle import COMPRESSED
from pipeline.whole_files import whole_file

# So many rows are compressed together; reading one row costs reading them all.
ROWS_TOGETHER = 256
# For tables of which every span reads rows: a third larger, and read in a fourth of the time.
READ_OFTEN = pa.ipc.IpcWriteOptions(compression="lz4")


def write_table(path: Path, table: pa.Table, options: pa.ipc.IpcWriteOptions = COMPRESSED) -> None:
    """Writes a table for `read_rows` and `read_table`."""
    with (
        whole_file(path) as partial,
        pa.ipc.new_file(str(partial), table.schema, options=options) as writer,
    ):
        writer.write_table(table.combine_chunks(), max_chunksize=ROWS_TOGETHER)


def read_table(path: Path) -> pa.Table:
    """A whole table."""
    with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
        return reader.read_all()


def read_rows(path: Path, rows: Ints) -> pa.Table:
    """Some rows of a table, in this order; a row may be asked for more than once."""
    with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
        together, which = np.unique(rows // ROWS_TOGETHER, return_inverse=True)
        batches = [reader.get_batch(int(number)) for number in together]
        table = pa.Table.from_batches(batches, reader.schema)
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    return table.take(pa.array(starts[which] + rows % ROWS_TOGETHER))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays of any lengths for `read_arrays`."""
    columns = {
        name: pa.LargeListArray.from_arrays([0, len(values)], pa.array(values))
        for name, values in arrays.items()
    }
    table = pa.table(columns)
    with whole_file(path) as partial, pa.ipc.new_file(str(partial), table.schema) as writer:
        writer.write_table(table)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays, mapped into memory: only what is touched is read."""
    with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
        batch = reader.get_batch(0)
    return {
        name: column.values.to_numpy()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
