"""Responses into REST bodies, printed as TensorFlow Serving prints them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from serving import tensors
from serving.errors import invalid
from serving.json_writer import JsonWriter, decimal
from serving.tensors import Array


def predictions(outputs: Mapping[str, Any], *, by_rows: bool) -> bytes:
    """The body that answers a predict call.

    Args:
        outputs: `TensorProto`s by output name.
        by_rows: one entry an instance, rather than one a tensor.

    Raises:
        ServingError: INVALID_ARGUMENT where the outputs cannot be written that way.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    arrays = {name: tensors.to_array(outputs[name]) for name in sorted(outputs)}
    writer = JsonWriter()
    writer.start("{")
    if by_rows:
        _write_rows(writer, arrays)
    else:
        writer.text("outputs")
        _write_named(writer, arrays)
    writer.end()
    return writer.document()


def _write_rows(writer: JsonWriter, arrays: Mapping[str, Array]) -> None:
    rows = -1
    for name, array in arrays.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows not in (-1, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}"
            )
        rows = len(array)
    writer.text("predictions")
    writer.start("[")
    for row in range(rows):
        if len(arrays) > 1:
            writer.start("{")
        writer.single_line = True
        for name, array in arrays.items():
            if len(arrays) > 1:
                writer.text(name)
            _write_array(writer, name, array[row])
        writer.single_line = False
        if len(arrays) > 1:
            writer.end()
    writer.end()


def _write_named(writer: JsonWriter, arrays: Mapping[str, Array]) -> None:
    if len(arrays) > 1:
        writer.start("{")
    for name, array in arrays.items():
        if len(arrays) > 1:
            writer.text(name)
        _write_array(writer, name, array)
    if len(arrays) > 1:
        writer.end()


def _write_array(writer: JsonWriter, name: str, array: Any) -> None:
    array = np.asarray(array)
    if array.dtype.kind == "c":
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    as_bytes = array.dtype == object and name.endswith("_bytes")
    double = array.dtype == np.float64
    if array.dtype.kind == "V" or array.dtype == np.float16:  # bfloat16 has kind V
        array = array.astype(np.float32)
    _write_nested(writer, array.tolist(), as_bytes, double)


def _write_nested(writer: JsonWriter, value: Any, as_bytes: bool, double: bool) -> None:
    if isinstance(value, list):
        writer.start("[")
        for item in value:
            _write_nested(writer, item, as_bytes, double)
        writer.end()
    elif isinstance(value, bytes) and as_bytes:
        writer.start("{")
        writer.text("b64")
        writer.text(base64.b64encode(value).decode())
        writer.end()
    elif isinstance(value, bytes):
        writer.text(value.decode("utf-8", "surrogateescape"))
    elif isinstance(value, bool):
        writer.raw("true" if value else "false")
    elif isinstance(value, float):
        writer.raw(decimal(value, double=double))
    else:
        writer.raw(str(value))


def classifications(result: Any) -> bytes:
    """The body that answers a classify call: for each example, [label, score] pairs."""
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    writer = JsonWriter()
    writer.start("{")
    writer.text("results")
    writer.start("[")
    for example in result.classifications:
        writer.single_line = True
        writer.start("[")
        for one in example.classes:
            writer.start("[")
            writer.text(one.label)
            writer.raw(decimal(one.score, double=False))
            writer.end()
        writer.end()
        writer.single_line = False
    writer.end()
    writer.end()
    return writer.document()


def regressions(result: Any) -> bytes:
    """The body that answers a regress call: one value an example."""
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    writer = JsonWriter()
    writer.start("{")
    writer.text("results")
    writer.single_line = True
    writer.start("[")
    for one in result.regressions:
        writer.raw(decimal(one.value, double=False))
    writer.end()
    writer.end()
    return writer.document()


def model_status(response: Any) -> bytes:
    """The body that answers a status call."""
    return (_json(response) + "\n").encode()


def model_metadata(response: Any) -> bytes:
    """The body that answers a metadata call."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return (
        f'{{\n"model_spec":{_json(response.model_spec)}\n,\n'
        f'"metadata": {{"signature_def": {_json(signatures)}\n}}\n}}\n'
    ).encode()


def _json(message: Any) -> str:
    return json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
