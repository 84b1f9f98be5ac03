"""Checked reading of settings: a mapping (from YAML or JSON) becomes a frozen dataclass.

Every refusal is one `ConfigError` that names the file, the key's path, what was found and what
was expected. A dataclass checks its own values in `__post_init__` by raising `ConfigError` with
the field's name; `build` puts the path and the file in front of it.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be used.

    Attributes:
        key: dotted path of the setting, e.g. `features[2].kind`; "" for the whole document.
        found: what the settings hold, as text.
        expected: what was expected, and what to do where that is not obvious.
        file: the settings' file, or None if they did not come from one.
    """

    def __init__(self, key: str, found: str, expected: str, file: str | None = None):
        self.key, self.found, self.expected, self.file = key, found, expected, file
        parts = [part for part in (file, key) if part]
        super().__init__(f"{': '.join(parts)}: found {found}; expected {expected}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keeps the parts when a worker process hands the error on."""
        return ConfigError, (self.key, self.found, self.expected, self.file)

    def inside(self, prefix: str, file: str | None = None) -> "ConfigError":
        """The same error seen from further out: `prefix` before the key, `file` before both."""
        joined = f"{prefix}{_dot(prefix, self.key)}{self.key}"
        return ConfigError(joined, self.found, self.expected, self.file or file)


def _dot(prefix: str, key: str) -> str:
    return "." if prefix and key and not key.startswith("[") else ""


def require(condition: bool, key: str, found: Any, expected: str) -> None:
    """Raises `ConfigError` for `key` unless `condition` holds."""
    if not condition:
        raise ConfigError(key, show(found), expected)


def show(value: Any) -> str:
    """A value as an error message quotes it."""
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, list | tuple):
        return f"the list {list(value)!r}" if len(repr(value)) <= 80 else f"{len(value)} values"
    if dataclasses.is_dataclass(value):
        return "a mapping"
    return "nothing" if value is None else repr(value)


def suggest(word: object, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?` if a known word is close to `word`, else the empty string."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice (YAML itself keeps the last one silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.MarkedYAMLError(
                    problem="a key must be one word", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is written twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """The plain content of a YAML file. Raises `ConfigError` (with the line) if it has none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError("", what, "a readable YAML file in UTF-8", str(path)) from error
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(line, problem, "valid YAML", str(path)) from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, ValueError) as error:
        # What PyYAML itself makes of values with a type in front of them, such as `!!timestamp x`.
        problem = "a value that is not of the type in front of it, or nested beyond all bounds"
        raise ConfigError("", problem, "plain values without types (!!…)", str(path)) from error


def build(cls: type[T], value: Any, *, file: str | None = None) -> T:
    """An instance of the dataclass `cls` from plain data.

    Args:
        cls: a dataclass whose fields are scalars, `Literal`s, optional or nested dataclasses,
            or tuples of these. A lone scalar stands for a tuple of one.
        value: a mapping from field names to plain values (as YAML or JSON give them).
        file: where the value came from, for the error text.

    Raises:
        ConfigError: unknown or missing key, wrong type, or a value the dataclass refuses.
    """
    try:
        return typing.cast(T, _convert(cls, value))
    except ConfigError as error:
        raise error.inside("", file) from error.__cause__


def _build(cls: Any, value: Any) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if not isinstance(value, Mapping):
        raise ConfigError("", show(value), f"a mapping with the keys {', '.join(fields)}")
    for key in value:
        if key not in fields:
            known = f"one of {', '.join(fields)}{suggest(key, fields)}"
            raise ConfigError(str(key), "an unknown key", known)
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in value:
            try:
                arguments[name] = _convert(hints[name], value[name])
            except ConfigError as error:
                raise error.inside(name) from error.__cause__
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(name, "nothing", _describe(hints[name]))
    return cls(**arguments)


def _convert(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, arguments, value)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            words = [str(argument) for argument in arguments]
            raise ConfigError("", show(value), f"one of {', '.join(words)}{suggest(value, words)}")
        return value
    if origin is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        if value is None or isinstance(value, Mapping):
            raise ConfigError("", show(value), _describe(hint))
        converted = []
        for index, item in enumerate(values):
            try:
                converted.append(_convert(arguments[0], item))
            except ConfigError as error:
                raise error.inside(f"[{index}]") from error.__cause__
        return tuple(converted)
    return _convert_scalar(hint, value)


def _convert_union(hint: Any, arguments: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [argument for argument in arguments if argument is not type(None)]
    if len(kinds) == 1:
        return _convert(kinds[0], value)
    for kind in kinds:
        if type(value) is kind or (kind is float and type(value) is int):
            return _convert(kind, value)
    raise ConfigError("", show(value), _describe(hint))


def _convert_scalar(hint: Any, value: Any) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise ConfigError("", show(value), "a finite number")
    if hint is str:
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, bool):
            raise ConfigError(
                "", show(value), "text: put it in quotes (YAML reads a bare yes, no, on as true)"
            )
    raise ConfigError("", show(value), _describe(hint))


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _describe(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return f"a mapping with the keys {', '.join(f.name for f in dataclasses.fields(hint))}"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(a) for a in arguments if a is not type(None))
    return _NAMES[hint]
