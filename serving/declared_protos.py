"""Protocol buffer messages declared at run time, where no package carries their generated code or
where importing it would import TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}

Fields = Sequence[tuple[str, int, str]]


def declare(package: str, messages: Mapping[str, Fields], file_name: str) -> dict[str, Any]:
    """Make message classes, in a pool of their own that cannot clash with generated code.

    Args:
        package: the protos' package.
        messages: fields of each message as (name, number, type). A type is a scalar's name, a
            full message name, either after `*` for a repeated field, or `map TYPE` for a map from
            string. An enum is declared as the int32 it is on the wire.
        file_name: name of the proto file they stand for.

    Returns:
        Classes by message name.
    """
    file = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    pool: Any = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        copied = descriptor_pb2.FileDescriptorProto()
        known.DESCRIPTOR.CopyToProto(copied)
        pool.Add(copied)
        file.dependency.append(copied.name)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            if kind.startswith("map "):
                entry = message.nested_type.add(name=_entry_name(field_name))
                entry.options.map_entry = True
                _add_field(entry, "key", 1, "string")
                _add_field(entry, "value", 2, kind[4:])
                kind = f"*{package}.{name}.{entry.name}"
            _add_field(message, field_name, number, kind)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    repeated = kind.startswith("*")
    kind = kind.lstrip("*")
    field = message.field.add(
        name=name,
        number=number,
        label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
    )
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{kind}"


def _entry_name(field: str) -> str:
    return "".join(word.capitalize() for word in field.split("_")) + "Entry"
