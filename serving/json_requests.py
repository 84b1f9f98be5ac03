"""REST bodies into requests, with TensorFlow Serving's rules and messages."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np

from serving import tensors
from serving.errors import ServingError, invalid
from serving.json_writer import value_text

# rapidjson's words for what Python's parser finds wrong.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_INTEGERS = {
    tensors.DT_INT8,
    tensors.DT_INT16,
    tensors.DT_INT32,
    tensors.DT_INT64,
    tensors.DT_UINT8,
    tensors.DT_UINT16,
    tensors.DT_UINT32,
    tensors.DT_UINT64,
}
# Largest integer up to which a float type holds every integer, and its largest finite value.
_FLOATS = {
    tensors.DT_FLOAT: ("float", 2**24 - 1, float(np.finfo(np.float32).max)),
    tensors.DT_DOUBLE: ("double", 2**53 - 1, float(np.finfo(np.float64).max)),
    tensors.DT_HALF: ("half", 2**11 - 1, float(np.finfo(np.float16).max)),
    tensors.DT_BFLOAT16: ("bfloat16", 2**8 - 1, (2 - 2**-7) * 2.0**127),
}


def parse_document(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        ServingError: INVALID_ARGUMENT where it is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(
            f"JSON Parse error: Invalid encoding in string. at offset: {error.start}"
        ) from error
    except json.JSONDecodeError as error:
        text = _PARSE_ERRORS.get(error.msg, "")
        if error.msg == "Expecting ',' delimiter":
            text = "Missing a comma or } or ] after an element."
        raise invalid(
            f"JSON Parse error: {text or error.msg + '.'} at offset: {error.pos}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise invalid(
            "JSON Parse error: Nested too deep, or a number of too many digits."
        ) from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {value_text(document)} Is not object")
    return document


def fill_signature(document: Mapping[str, Any], spec: Any) -> None:
    """Take the optional `signature_name` over into a `ModelSpec`."""
    if "signature_name" in document:
        name = document["signature_name"]
        if not isinstance(name, str):
            raise invalid(
                f"JSON Value: {value_text(document)} not formatted correctly. 'signature_name' key "
                "must be a string value."
            )
        spec.signature_name = name


def fill_predict(body: bytes, request: Any, inputs_of: Callable[[str], Mapping[str, Any]]) -> bool:
    """Fill a `PredictRequest` from the body of a predict call.

    Args:
        body: JSON with `instances` (rows) or `inputs` (columns).
        request: the request, with its model already named.
        inputs_of: the `TensorInfo`s of a signature's inputs ("" being the default signature).

    Returns:
        Whether the call was by rows, and so the answer must be.

    Raises:
        ServingError: INVALID_ARGUMENT where the body does not fit the signature.
    """
    document = parse_document(body)
    fill_signature(document, request.model_spec)
    name = request.model_spec.signature_name
    infos = inputs_of(name)
    if not infos:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {value_text(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {value_text(document)} Excepting 'instances' to be an list/array"
            )
        if not instances:
            raise invalid(f"JSON Value: {value_text(document)} No values in 'instances' array")
        _fill_rows(instances, infos, request.inputs)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], infos, request.inputs)
        return False
    raise invalid("Missing 'inputs' or 'instances' key")


def _fill_rows(instances: list[Any], infos: Mapping[str, Any], inputs: Any) -> None:
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_named(instances[0])
    collected: dict[str, _Column] = {}
    for place, element in enumerate(instances):
        if named != _is_named(element):
            raise invalid(
                f"Expecting object but got list at item {place} of input list"
                if named
                else f"Expecting value/list but got object at item {place} of input list"
            )
        items = element if named else {next(iter(infos)): element}
        for name, value in items.items():
            try:
                if name not in infos:
                    raise invalid(f"JSON object: does not have named input: {name}")
                collected.setdefault(name, _Column(infos[name].dtype)).add_row(value)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {place}{key} of 'instances' list. Error: {error}"
                ) from error
        if items.keys() != infos.keys():
            raise invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: "
                f"{value_text(element)} keys must be equal to: {','.join(sorted(infos))}"
            )
    for name, column in collected.items():
        column.fill(inputs[name], (len(instances), *(column.shape or ())))


def _fill_columns(value: Any, infos: Mapping[str, Any], inputs: Any) -> None:
    if not _is_named(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    for name, info in sorted(infos.items()):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        column = _Column(info.dtype)
        column.add_row(value[name])
        column.fill(inputs[name], column.shape or ())


class _Column:
    """The values of one input, one row after the other, all of one shape."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        self.shape: tuple[int, ...] | None = None
        self._values: list[Any] = []

    def add_row(self, value: Any) -> None:
        shape = _shape_of(value)
        before = len(self._values)
        self._append(value, 0, shape)
        size = len(self._values) - before
        if self.shape is None:
            self.shape = shape
        elif size != math.prod(self.shape):
            raise invalid(f"Expecting tensor size: {math.prod(self.shape)} but got: {size}")
        elif shape != self.shape:
            raise invalid(
                f"Expecting shape {_shape_text(self.shape)} but got: {_shape_text(shape)}"
            )

    def _append(self, value: Any, level: int, shape: tuple[int, ...]) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {value_text(value)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {len(shape)}"
                )
            self._values.append(_scalar(value, self.dtype))
            return
        if level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected "
                f"size: {shape[level]}"
            )
        for item in value:
            self._append(item, level + 1, shape)

    def fill(self, proto: Any, shape: tuple[int, ...]) -> None:
        if self.dtype == tensors.DT_STRING:
            array = tensors.string_array(self._values, shape)
        else:
            array = np.array(self._values, tensors.numpy_type(self.dtype)).reshape(shape)
        tensors.fill_proto(proto, array, as_content=True)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _decode_base64(value: Any) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {value_text(value)} not formatted correctly for base64 data")
    text = value["b64"].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _shape_of(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _type_error(value: Any, dtype: int) -> ServingError:
    return invalid(
        f"JSON Value: {value_text(value)} Type: {_json_type(value)} is not of expected type: "
        f"{tensors.dtype_name(dtype)}"
    )


def _json_type(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, str):
        return "String"
    if isinstance(value, list):
        return "Array"
    return "Object" if isinstance(value, dict) else "Number"


def _scalar(value: Any, dtype: int) -> Any:
    """One JSON value as an element of a tensor, never with loss."""
    if dtype in _FLOATS:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _type_error(value, dtype)
        name, largest_integer, largest = _FLOATS[dtype]
        if isinstance(value, int) and -(2**63) <= value < 2**64:
            lossless = abs(value) <= largest_integer
        else:
            # As rapidjson, an integer beyond 64 bits is read as a double.
            value = float(value) if abs(value) < 1 << 1023 else math.inf
            lossless = not math.isfinite(value) or abs(value) <= largest
        if not lossless:
            raise invalid(
                f"Cannot convert JSON value: {value_text(value)} to {name} without loss of "
                "precision."
            )
        return value
    if dtype in _INTEGERS:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _type_error(value, dtype)
        limits = np.iinfo(tensors.numpy_type(dtype))
        if not limits.min <= value <= limits.max:
            raise _type_error(value, dtype)
        return value
    if dtype == tensors.DT_STRING:
        if isinstance(value, dict):
            return _decode_base64(value)
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode("utf-8", "surrogatepass")
    if dtype == tensors.DT_BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    raise ServingError(
        grpc.StatusCode.UNIMPLEMENTED,
        f"Conversion of JSON Value: {value_text(value)} to type: {tensors.dtype_name(dtype)}",
    )


def fill_examples(body: bytes, request: Any) -> None:
    """Fill a classification or regression request from the body of a classify or regress call.

    Args:
        body: JSON with `examples`, a list of feature → value or list objects, and an optional
            `context` whose features are added to every example.
        request: the request, with its model already named.

    Raises:
        ServingError: INVALID_ARGUMENT where the body is not of this form.
    """
    document = parse_document(body)
    fill_signature(document, request.model_spec)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {value_text(document)} When method is classify, key 'examples' is "
            "expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {value_text(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {value_text(document)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)


def _add_to_feature(value: Any, name: str, feature: Any) -> None:
    kind: str
    element: Any
    if isinstance(value, (bool, int)):
        kind, element = "int64_list", value
        if not -(2**63) <= value < 2**63:
            if value < 2**64:
                raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
            kind, element = "float_list", float(value)
    elif isinstance(value, float):
        kind, element = "float_list", value
    elif isinstance(value, str):
        kind, element = "bytes_list", value.encode("utf-8", "surrogatepass")
    elif _is_base64(value):
        kind, element = "bytes_list", _decode_base64(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        words = {"int64_list": "int64", "float_list": "float", "bytes_list": "bytes"}
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: {words[present]}"
        )
    if kind == "float_list" and math.isfinite(element) and abs(element) > _FLOATS[1][2]:
        raise invalid(
            f"Cannot convert JSON value: {value_text(value)} to float without loss of precision."
        )
    getattr(feature, kind).value.append(element)
