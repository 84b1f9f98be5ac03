"""Slates as pieces of their examples: encoded once, and fast to read in whatever group they are.

An answered slate is a member of several groups, with the answers of one moment. All else in its
example stays the same, from its impression on, so it is kept as the bytes between.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.example_gen.columnar import Ints, one_chunk
from pipeline.example_gen.example_encoding import encode_around, encode_between

# What differs from one example of a slate to the next, in the order of the names.
_VARYING = ("answer", "group_time", "pair_group")
_PIECES = tuple(f"piece_{number}" for number in range(len(_VARYING) + 1))
# What is needed to make examples of a slate again.
OF_EXAMPLE = ("answer", *_PIECES)
# And to find it, and to put it in order.
_IDS = ("user_id", "request_id", "time", "item_id")


def slate_pieces(columns: pa.Table) -> pa.Table:
    """Slates in pieces, out of the columns of their examples."""
    names = columns.column_names
    arrays = [one_chunk(columns, name) for name in names]
    pieces = encode_around(pa.RecordBatch.from_arrays(arrays, names=names), _VARYING)
    table = columns.select([*_IDS, "answer"])
    for name, piece in zip(_PIECES, pieces, strict=True):
        table = table.append_column(name, piece)
    return table


def examples_of(slates: pa.Table, group: Ints, group_time: Ints) -> pa.LargeBinaryArray:
    """The serialized examples of slates in pieces, with their answers, as members of groups."""
    values = [one_chunk(slates, "answer"), pa.array(group_time), pa.array(group)]
    varying = pa.RecordBatch.from_arrays(values, names=list(_VARYING))
    return encode_between([one_chunk(slates, name) for name in _PIECES], varying)
