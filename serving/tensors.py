"""TensorProto to numpy and back, without the copies of `tf.make_ndarray` and friends.

It needs no TensorFlow, so that a client does not. `tensor_content` is viewed in place. Typed float
fields are read from and written as their packed wire bytes, which costs microseconds where a Python
list of a million floats costs tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# A short list of values stands for a tensor filled with its last one. What a request of a few
# bytes may make the server allocate that way is bounded by this.
MAX_FILLED_BYTES = 1 << 28
# From here on the packed bytes of a repeated field beat its Python list.
_PACKED_FROM = 64

# TensorFlow's DataType enum.
DT_FLOAT = 1
DT_DOUBLE = 2
DT_INT32 = 3
DT_UINT8 = 4
DT_INT16 = 5
DT_INT8 = 6
DT_STRING = 7
DT_COMPLEX64 = 8
DT_INT64 = 9
DT_BOOL = 10
DT_BFLOAT16 = 14
DT_UINT16 = 17
DT_COMPLEX128 = 18
DT_HALF = 19
DT_UINT32 = 22
DT_UINT64 = 23

# Of each type: its name in messages, the field of typed values, the numpy type.
_TYPES: dict[int, tuple[str, str, Any]] = {
    DT_FLOAT: ("float", "float_val", np.float32),
    DT_DOUBLE: ("double", "double_val", np.float64),
    DT_INT32: ("int32", "int_val", np.int32),
    DT_UINT8: ("uint8", "int_val", np.uint8),
    DT_INT16: ("int16", "int_val", np.int16),
    DT_INT8: ("int8", "int_val", np.int8),
    DT_STRING: ("string", "string_val", np.object_),
    DT_COMPLEX64: ("complex64", "scomplex_val", np.complex64),
    DT_INT64: ("int64", "int64_val", np.int64),
    DT_BOOL: ("bool", "bool_val", np.bool_),
    DT_BFLOAT16: ("bfloat16", "half_val", ml_dtypes.bfloat16),
    DT_UINT16: ("uint16", "int_val", np.uint16),
    DT_COMPLEX128: ("complex128", "dcomplex_val", np.complex128),
    DT_HALF: ("half", "half_val", np.float16),
    DT_UINT32: ("uint32", "uint32_val", np.uint32),
    DT_UINT64: ("uint64", "uint64_val", np.uint64),
}
_ENUMS = {np.dtype(dtype): enum for enum, (_, _, dtype) in _TYPES.items()}
_ITEM_SIZES = {enum: np.dtype(dtype).itemsize for enum, (_, _, dtype) in _TYPES.items()}
# Fields whose packed wire bytes are the array's own bytes, by their tag byte (number, wire type 2).
_PACKED_TAGS = {DT_FLOAT: b"\x2a", DT_DOUBLE: b"\x32"}


def dtype_name(enum: int) -> str:
    """TensorFlow's name of a type, such as `float` or `string`, for messages."""
    return _TYPES[enum][0] if enum in _TYPES else f"number {enum} of the DataType enum"


def numpy_type(enum: int) -> Any:
    """The numpy type of a TensorFlow type.

    Raises:
        ValueError: it is not the type of a dense tensor.
    """
    if enum not in _TYPES:
        raise ValueError(f"a tensor of type {dtype_name(enum)} cannot be sent")
    return _TYPES[enum][2]


def to_array(proto: Any) -> Array:
    """The values of a TensorProto.

    Args:
        proto: a `TensorProto` of a dense type, with `tensor_content` or typed values. As in
            TensorFlow, too few typed values repeat the last one and none at all mean zeros.

    Returns:
        An array of the proto's shape; strings are an object array of bytes. It may be a read-only
        view of the proto.

    Raises:
        ValueError: the type is not a dense one, the shape is unknown or negative, or the values
            do not fill it.
    """
    # This runs for every input of every request: no more calls than needed.
    dtype = proto.dtype
    numpy_dtype = numpy_type(dtype)
    dims = proto.tensor_shape
    shape = tuple([dim.size for dim in dims.dim])
    count = 1
    for size in shape:
        if size < 0:
            raise ValueError(f"the shape {list(shape)} has a negative dimension")
        count *= size
    if not shape and dims.unknown_rank:
        raise ValueError("the shape is of unknown rank")
    if len(shape) > 32:
        raise ValueError(f"{len(shape)} dimensions are more than 32")
    content = proto.tensor_content
    if content:
        if dtype == DT_STRING:
            return string_array(_split_strings(content, count), shape)
        itemsize = _ITEM_SIZES[dtype]
        if len(content) != count * itemsize:
            raise ValueError(
                f"tensor_content has {len(content)} bytes, {list(shape)} needs {count * itemsize}"
            )
        return np.frombuffer(content, numpy_dtype).reshape(shape)
    if dtype == DT_STRING and len(proto.string_val) == count:
        return string_array(proto.string_val, shape)
    return _from_values(getattr(proto, _TYPES[dtype][1]), dtype, numpy_dtype, shape, count, proto)


def _from_values(
    values: Any, dtype: int, numpy_dtype: Any, shape: tuple[int, ...], count: int, proto: Any
) -> Array:
    given = len(values)
    if dtype in (DT_COMPLEX64, DT_COMPLEX128):
        given //= 2
    if given < count and count * max(np.dtype(numpy_dtype).itemsize, 8) > MAX_FILLED_BYTES:
        raise ValueError(f"{given} values given for the {count} of shape {list(shape)}")
    if dtype == DT_STRING:
        items = list(values[:count])
        items += [items[-1] if items else b""] * (count - len(items))
        return string_array(items, shape)
    array: Array
    if dtype in _PACKED_TAGS and given >= _PACKED_FROM:
        array = np.frombuffer(_packed_bytes(proto, given, numpy_dtype), numpy_dtype)
    elif dtype in (DT_HALF, DT_BFLOAT16):
        array = np.array(values, np.int64).astype(np.uint16).view(numpy_dtype)
    elif dtype == DT_COMPLEX64:
        array = np.array(values[: 2 * given], np.float32).view(np.complex64)
    elif dtype == DT_COMPLEX128:
        array = np.array(values[: 2 * given], np.float64).view(np.complex128)
    elif dtype in (DT_INT8, DT_INT16, DT_UINT8, DT_UINT16):
        array = np.array(values, np.int32).astype(numpy_dtype)
    else:
        array = np.array(values, numpy_dtype)
    if given < count:
        filled = np.zeros(count, numpy_dtype)
        if given:
            filled[:given] = array
            filled[given:] = array[-1]
        array = filled
    return array[:count].reshape(shape)


def string_array(items: Sequence[bytes], shape: tuple[int, ...]) -> Array:
    """An object array of byte strings, as TensorFlow takes and gives string tensors."""
    array = np.empty(len(items), np.object_)
    array[:] = items
    return array.reshape(shape)


def _packed_bytes(proto: Any, given: int, numpy_dtype: Any) -> bytes:
    """The packed bytes of a proto's float or double field: they end its serialised form.

    A copy of the values alone is serialised, so that the field is the last and only one.
    """
    alone = type(proto)()
    if numpy_dtype is np.float32:
        alone.float_val.MergeFrom(proto.float_val)
    else:
        alone.double_val.MergeFrom(proto.double_val)
    size = given * np.dtype(numpy_dtype).itemsize
    return bytes(alone.SerializeToString()[-size:])


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Strings of `tensor_content`: all lengths as varints, then all bytes."""
    if count > len(content):
        raise ValueError(f"{count} strings do not fit in {len(content)} bytes of tensor_content")
    lengths = []
    position = 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise ValueError("the string lengths in tensor_content are cut short")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("the string lengths in tensor_content do not add up")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def fill_proto(proto: Any, array: Any, *, as_content: bool) -> None:
    """Write an array into an empty TensorProto.

    Args:
        proto: the `TensorProto` to fill.
        array: numpy array or scalar; object and `S`/`U` arrays are strings.
        as_content: raw bytes in `tensor_content` (fast to write and to read) rather than typed
            values, as TensorFlow Serving answers by default. Strings are always typed values.

    Raises:
        ValueError: the array's type has no TensorFlow type.
    """
    array = np.asarray(array)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype.kind in "OSU":
        proto.dtype = DT_STRING
        proto.string_val.extend(_as_bytes(item) for item in array.ravel().tolist())
        return
    enum = _ENUMS.get(array.dtype.newbyteorder("="))
    if enum is None:
        raise ValueError(f"numpy type {array.dtype} has no TensorFlow type")
    proto.dtype = enum
    numpy_dtype = np.dtype(_TYPES[enum][2])
    array = np.ascontiguousarray(array, numpy_dtype)
    if as_content:
        proto.tensor_content = array.tobytes()
        return
    if enum in _PACKED_TAGS and array.size >= _PACKED_FROM:
        proto.MergeFromString(_PACKED_TAGS[enum] + _varint(array.nbytes) + array.tobytes())
        return
    if enum in (DT_HALF, DT_BFLOAT16):
        values = array.view(np.uint16)
    elif enum == DT_COMPLEX64:
        values = array.reshape(-1).view(np.float32)
    elif enum == DT_COMPLEX128:
        values = array.reshape(-1).view(np.float64)
    else:
        values = array
    getattr(proto, _TYPES[enum][1]).extend(values.ravel().tolist())


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise ValueError(f"a string tensor needs bytes or str, found {type(item).__name__}")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
