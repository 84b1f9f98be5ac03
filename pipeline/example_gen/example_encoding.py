"""Arrow columns to serialized `tf.Example`s, always the same bytes for the same values.

A `tf.Example` is a protobuf map, and the encoders at hand write a map in an order that changes
from one process to the next. Files that can be compared byte by byte need one order, so the few
wire-format rules involved are written out here: features sorted by name, a column at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Protobuf: a length-delimited field's tag is `number << 3 | 2`.
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
# `Feature` is a oneof of bytes_list = 1, float_list = 2, int64_list = 3.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = _FIELD_1, _FIELD_2, _FIELD_3
_NOTHING = pa.scalar(b"", pa.large_binary())


def encode_examples(slates: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Serializes each row as a `tf.Example`.

    Args:
        slates: columns without nulls, each either scalar (one value a row) or a large list.
            Values are strings or binary (`bytes_list`), floats (`float_list`, as float32) or
            integers (`int64_list`).

    Returns:
        One serialized `tf.Example` a row. Features are in the order of their names.

    Raises:
        TypeError: a column of another type.
    """
    (features,) = encode_around(slates, ())
    return _as_examples(features)


def encode_around(slates: pa.RecordBatch, names: Sequence[str]) -> list[pa.LargeBinaryArray]:
    """Serializes each row but for some columns, which `encode_between` puts in later.

    Args:
        slates: see `encode_examples`.
        names: of columns, in their order by name. They may be in `slates` or not.

    Returns:
        For each of `names` the piece before it, and the piece after the last: `[rows]` each.
    """
    pieces: list[list[pa.Array]] = [[] for _ in range(len(names) + 1)]
    for name in sorted(slates.schema.names, key=str.encode):
        if name not in names:
            place = sum(other.encode() < name.encode() for other in names)
            pieces[place].extend(_map_entry(name, slates.column(name)))
    nothing = pa.array([b""] * slates.num_rows, pa.large_binary())
    return [pc.binary_join_element_wise(*parts, _NOTHING) if parts else nothing for parts in pieces]


def encode_between(
    pieces: Sequence[pa.LargeBinaryArray], columns: pa.RecordBatch
) -> pa.LargeBinaryArray:
    """One serialized `tf.Example` a row: the pieces of `encode_around` and the columns left out."""
    parts = [pieces[0]]
    names = sorted(columns.schema.names, key=str.encode)
    for name, after in zip(names, pieces[1:], strict=True):
        parts.extend((*_map_entry(name, columns.column(name)), after))
    return _as_examples(pc.binary_join_element_wise(*parts, _NOTHING))


def _as_examples(features: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    return pc.binary_join_element_wise(_heads(_lengths(features), _delimited), features, _NOTHING)


def _map_entry(name: str, column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """One feature's map entry in each row, in two pieces: what precedes the values, the values."""
    if isinstance(column, pa.LargeListArray):
        offsets, values = np.asarray(column.offsets), column.flatten()
        offsets = offsets - offsets[0]
    else:
        offsets, values = np.arange(len(column) + 1), column
    kind, ends, payload = _payload(name, values)
    row_offsets = ends[offsets]
    pieces = _large_binary(row_offsets, payload)
    key = _delimited(len(name.encode())) + name.encode()

    def head(size: int) -> bytes:
        # Numbers are packed: one field that holds them all. Strings are fields of their own,
        # already in `size`.
        packed = b"" if kind == _BYTES_LIST else _delimited(size)
        feature = kind + _varint(len(packed) + size) + packed
        value = _FIELD_2 + _varint(len(feature) + size) + feature
        return _delimited(len(key) + len(value) + size) + key + value

    return _heads(np.diff(row_offsets), head), pieces


def _payload(name: str, values: pa.Array) -> tuple[bytes, NDArray[np.int64], pa.Buffer]:
    """All values of a column in wire format: the list's kind, `ends[i]` = where value i begins,
    and the bytes."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_floating(kind):
        floats = np.ascontiguousarray(values.to_numpy(zero_copy_only=False), dtype="<f4")
        return _FLOAT_LIST, np.arange(len(floats) + 1) * 4, pa.py_buffer(floats)
    if pa.types.is_integer(kind):
        numbers = values.to_numpy().astype(np.int64, copy=False).view(np.uint64)
        if not (numbers > 127).any():
            return _INT64_LIST, np.arange(len(numbers) + 1), pa.py_buffer(numbers.astype(np.uint8))
        # Most are one of a few, and a negative number takes ten bytes.
        distinct = pa.array(numbers).dictionary_encode()
        encoded = _varints(distinct.dictionary.to_numpy()).take(distinct.indices)
        return _INT64_LIST, _offsets(encoded), encoded.buffers()[2]
    if _is_text(kind):
        strings = values.cast(pa.large_binary())
        fields = pc.binary_join_element_wise(
            _heads(_lengths(strings), _delimited), strings, _NOTHING
        )
        return _BYTES_LIST, _offsets(fields), fields.buffers()[2]
    raise TypeError(f"column '{name}' has type {kind}; expected strings, floats or integers")


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _varints(numbers: NDArray[np.uint64]) -> pa.LargeBinaryArray:
    """Base-128 varints."""
    sizes = np.ones(len(numbers), np.int64)
    for group in range(1, 10):
        sizes += (numbers >> np.uint64(7 * group)) > 0
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    encoded = np.empty(offsets[-1], np.uint8)
    for group in range(10):
        some = np.flatnonzero(sizes > group)
        bits = (numbers[some] >> np.uint64(7 * group)) & np.uint64(127)
        more = np.where(sizes[some] > group + 1, np.uint64(128), np.uint64(0))
        encoded[offsets[some] + group] = bits | more
    return _large_binary(offsets, pa.py_buffer(encoded))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _delimited(size: int) -> bytes:
    return _FIELD_1 + _varint(size)


def _heads(sizes: NDArray[np.int64], head: Callable[[int], bytes]) -> pa.LargeBinaryArray:
    """`head(size)` of each size, computed once for each different one."""
    distinct = pa.array(sizes).dictionary_encode()
    made = pa.array([head(size) for size in distinct.dictionary.to_pylist()], pa.large_binary())
    return made.take(distinct.indices)


def _lengths(strings: pa.LargeBinaryArray) -> NDArray[np.int64]:
    return np.diff(_offsets(strings))


def _offsets(strings: pa.LargeBinaryArray) -> NDArray[np.int64]:
    raw = np.frombuffer(strings.buffers()[1], np.int64)
    return raw[strings.offset : strings.offset + len(strings) + 1]


def _large_binary(offsets: NDArray[np.int64], payload: pa.Buffer) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), payload]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
