"""The one-file proto of docs/serving-other-languages.md is TensorFlow Serving's protocol."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

PROTO = (Path(__file__).resolve().parents[2] / "docs" / "examples" / "predict.proto").read_text()
SCALARS = {
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
}
MESSAGES = {
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "TensorProto": tensor_pb2.TensorProto,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
}


def declared(name: str) -> dict[str, tuple[str, int]]:
    """Of each field of a message in the file its type as written and its number."""
    start = re.search(rf"^( *)message {name} \{{$", PROTO, re.MULTILINE)
    assert start is not None, name
    body = PROTO[start.end() : PROTO.index(f"\n{start[1]}}}", start.end())]
    # Without messages within it, whose fields are not its own.
    text = re.sub(r"message \w+ \{.*?\}", "", body, flags=re.DOTALL)
    fields = re.findall(r"^ +([\w.<>, ]+?) (\w+) = (\d+);", text, re.MULTILINE)
    return {field: (kind, int(number)) for kind, field, number in fields}


def published(message: Descriptor, field: str) -> tuple[str, int]:
    """The same of TensorFlow Serving's message."""
    found: Any = message.fields_by_name[field]
    if found.message_type is not None and found.message_type.GetOptions().map_entry:
        value = found.message_type.fields_by_name["value"].message_type
        return f"map<string, {value.name}>", found.number
    if found.message_type is not None:
        own = found.message_type.file.package.startswith("tensorflow")
        kind = found.message_type.name if own else found.message_type.full_name
    else:
        kind = found.enum_type.name if found.enum_type is not None else SCALARS[found.type]
    return ("repeated " if found.is_repeated else "") + kind, found.number


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_has_the_published_type_and_number(name: str) -> None:
    fields = declared(name)
    assert fields
    message = MESSAGES[name].DESCRIPTOR
    assert fields == {field: published(message, field) for field in fields}


def test_the_types_have_the_published_numbers() -> None:
    values = dict(re.findall(r"^  (DT_\w+) = (\d+);", PROTO, re.MULTILINE))
    assert {"DT_FLOAT", "DT_STRING"} < values.keys()
    assert {name: int(number) for name, number in values.items()} == {
        name: types_pb2.DataType.Value(name) for name in values
    }


def test_the_method_is_the_one_servers_answer() -> None:
    assert "package tensorflow.serving;" in PROTO
    service = PROTO[PROTO.index("service PredictionService {") :].partition("}")[0]
    assert "rpc Predict(PredictRequest) returns (PredictResponse);" in service
