"""Serialized examples: the bytes by hand, and the values as the protobuf library reads them
back."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from pipeline.example_gen.example_encoding import (
    encode_around,
    encode_between,
    encode_examples,
)


def large_list(rows, kind):
    return pa.array(rows, pa.large_list(kind))


def read_back(serialized):
    features = example_pb2.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }


def test_the_bytes_of_one_example_by_hand():
    batch = pa.RecordBatch.from_pydict({"b": pa.array([300]), "a": pa.array(["xy"])})
    (example,) = encode_examples(batch).to_pylist()
    first = b"\x0a\x01a" + b"\x12\x06" + b"\x0a\x04" + b"\x0a\x02xy"
    second = b"\x0a\x01b" + b"\x12\x06" + b"\x1a\x04" + b"\x0a\x02\xac\x02"
    entries = b"\x0a" + bytes([len(first)]) + first + b"\x0a" + bytes([len(second)]) + second
    assert example == b"\x0a" + bytes([len(entries)]) + entries


def test_scalars_and_lists_of_each_kind():
    batch = pa.RecordBatch.from_pydict(
        {
            "time": pa.array([5, 1_650_000_000_000]),
            "user_id": pa.array(["u1", "ü2"]).dictionary_encode(),
            "item_id": large_list([["a", ""], ["b"]], pa.string()),
            "answer": large_list([[-1, 2], [0]], pa.int8()),
            "price": large_list([[0.5, -1.25], [3.0]], pa.float64()),
        }
    )
    first, second = (read_back(example) for example in encode_examples(batch).to_pylist())
    assert first == {
        "time": [5],
        "user_id": [b"u1"],
        "item_id": [b"a", b""],
        "answer": [-1, 2],
        "price": [0.5, -1.25],
    }
    assert second == {
        "time": [1_650_000_000_000],
        "user_id": ["ü2".encode()],
        "item_id": [b"b"],
        "answer": [0],
        "price": [3.0],
    }


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
            st.lists(st.binary(max_size=200), max_size=4),
            st.lists(st.floats(width=32, allow_nan=False), max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_values_are_what_the_protobuf_library_reads(rows):
    integers, strings, floats = zip(*rows, strict=True)
    batch = pa.RecordBatch.from_pydict(
        {
            "integers": large_list(integers, pa.int64()),
            "strings": large_list(strings, pa.large_binary()),
            "floats": large_list(floats, pa.float32()),
        }
    )
    # A slice begins in the middle of the buffers.
    for batch_part, expected in ((batch, rows), (batch.slice(1), rows[1:])):
        for example, row in zip(encode_examples(batch_part).to_pylist(), expected, strict=True):
            found = read_back(example)
            assert tuple(found[name] for name in ("integers", "strings", "floats")) == row


def test_the_order_of_columns_does_not_matter():
    columns = {name: pa.array(np.arange(3)) for name in "abc"}
    there = pa.RecordBatch.from_pydict(columns)
    back = pa.RecordBatch.from_pydict(dict(reversed(columns.items())))
    assert encode_examples(there).equals(encode_examples(back))


def test_another_process_makes_the_same_bytes():
    program = (
        "import pyarrow as pa, hashlib\n"
        "from pipeline.example_gen.example_encoding import encode_examples\n"
        "names = [f'feature_{i}' for i in range(40)]\n"
        "batch = pa.RecordBatch.from_pydict({n: pa.array([1, 2]) for n in names})\n"
        "print(hashlib.sha256(b''.join(encode_examples(batch).to_pylist())).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != ""


def test_a_column_of_another_type_is_refused():
    batch = pa.RecordBatch.from_pydict({"when": pa.array([0], pa.timestamp("ms"))})
    with pytest.raises(TypeError, match=r"'when'.*timestamp.*expected strings"):
        encode_examples(batch)


def test_columns_put_in_later_make_the_same_bytes():
    columns = {
        "d": pa.array(["x", "y"]),
        "b": large_list([[1, 300], [-1]], pa.int64()),
        "a": pa.array([0.5, 2.0]),
        "e": pa.array([7, 8]),
        "c": large_list([["p"], []], pa.string()),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    for late in (("b",), ("b", "c"), ("a", "e"), ("b", "d", "e")):
        pieces = encode_around(batch, late)
        assert len(pieces) == len(late) + 1
        examples = encode_between(pieces, batch.select(list(late)))
        assert examples.equals(encode_examples(batch))
    without = encode_around(batch.select(["a", "d"]), ("b",))
    later = encode_between(without, batch.select(["b"]))
    assert later.equals(encode_examples(batch.select(["a", "b", "d"])))
