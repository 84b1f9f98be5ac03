"""TensorProto to numpy and back: the same values as TensorFlow's own conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving import tensors, wire

NUMBERS = [
    np.float32,
    np.float64,
    np.int32,
    np.int16,
    np.int8,
    np.uint8,
    np.uint16,
    np.int64,
    np.bool_,
    np.uint32,
    np.uint64,
    np.complex64,
    np.complex128,
    np.float16,
    tf.bfloat16.as_numpy_dtype,
]


@pytest.mark.parametrize("as_content", [True, False], ids=["content", "values"])
@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (20, 5)], ids=str)
def test_numbers_survive_both_ways(dtype: Any, shape: tuple[int, ...], as_content: bool) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype)
    ours = tensor_pb2.TensorProto()
    tensors.fill_proto(ours, array, as_content=as_content)
    assert bool(ours.tensor_content) == (as_content and array.size > 0)
    np.testing.assert_array_equal(tf.make_ndarray(ours), array)
    back = tensors.to_array(ours)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(tensors.to_array(tf.make_tensor_proto(array)), array)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=20)))
def test_typed_floats_keep_every_bit(array: Any) -> None:
    proto = tensor_pb2.TensorProto()
    tensors.fill_proto(proto, array, as_content=False)
    assert proto.float_val or not array.size
    assert tensors.to_array(proto).tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_strings_as_values_and_as_content(strings: list[bytes]) -> None:
    proto = tensor_pb2.TensorProto()
    tensors.fill_proto(proto, np.array(strings, object), as_content=True)
    assert tensors.to_array(proto).tolist() == strings
    # TensorFlow's content form: all lengths as varints, then all bytes
    content = b"".join(_varint(len(one)) for one in strings) + b"".join(strings)
    packed = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=content)
    packed.tensor_shape.dim.add(size=len(strings))
    assert tensors.to_array(packed).tolist() == strings


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def test_text_is_sent_as_utf8() -> None:
    proto = wire.TensorProto()
    tensors.fill_proto(proto, np.array(["é", "a"]), as_content=True)
    assert tensors.to_array(proto).tolist() == ["é".encode(), b"a"]


def _proto(shape: list[int], dtype: int = types_pb2.DT_FLOAT, **fields: Any) -> Any:
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def test_too_few_values_repeat_the_last_and_none_mean_zero() -> None:
    assert tensors.to_array(_proto([4], float_val=[1.0, 2.0])).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert tensors.to_array(_proto([2])).tolist() == [0.0, 0.0]
    assert tensors.to_array(_proto([1], float_val=[1.0, 2.0])).tolist() == [1.0]
    strings = _proto([3], types_pb2.DT_STRING, string_val=[b"x"])
    assert tensors.to_array(strings).tolist() == [b"x", b"x", b"x"]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (_proto([2], tensor_content=b"123"), "3 bytes"),
        (_proto([-1]), "negative"),
        (_proto([1 << 40], float_val=[1.0]), "1 values given"),
        (_proto([1 << 40], types_pb2.DT_STRING, tensor_content=b"\x00"), "do not fit"),
        (_proto([1], types_pb2.DT_STRING, tensor_content=b"\x80"), "cut short"),
        (_proto([1], types_pb2.DT_STRING, tensor_content=b"\x05a"), "add up"),
        (_proto([1], types_pb2.DT_RESOURCE), "number 20 of the DataType enum"),
        (_proto([1], 9999), "number 9999"),
        (_proto([1] * 40, float_val=[1.0]), "40 dimensions"),
    ],
)
def test_what_cannot_be_a_tensor_is_refused(proto: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensors.to_array(proto)


def test_an_array_tensorflow_has_no_type_for_is_refused() -> None:
    with pytest.raises(ValueError, match="datetime64"):
        tensors.fill_proto(tensor_pb2.TensorProto(), np.zeros(1, "datetime64[s]"), as_content=True)
    with pytest.raises(ValueError, match="needs bytes or str, found int"):
        tensors.fill_proto(tensor_pb2.TensorProto(), np.array([1], object), as_content=True)
