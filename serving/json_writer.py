"""JSON printed byte for byte as TensorFlow Serving prints it.

Its layout puts every value of an object on a line of its own, four spaces a level, and the lists
of one result on a single line. Its floats are as short as six digits allow where that keeps the
value, and always tell that they are floats.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_INDENT = " " * 4


class JsonWriter:
    """Writes one document, piece by piece.

    Attributes:
        single_line: whether arrays are written on one line from here on.
    """

    def __init__(self) -> None:
        self.single_line = False
        self._parts: list[str] = []
        # Of each open object or list: whether it is a list, and how many pieces it has so far.
        self._open: list[list[Any]] = []

    def start(self, bracket: str) -> None:
        """Open an object `{` or a list `[`."""
        self._place()
        self._parts.append(bracket)
        self._open.append([bracket == "[", 0])

    def end(self) -> None:
        """Close what was opened last."""
        is_list, count = self._open.pop()
        if count and not (is_list and self.single_line):
            self._parts.append("\n" + _INDENT * len(self._open))
        self._parts.append("]" if is_list else "}")

    def text(self, value: str) -> None:
        """Write a string, or the key of an object's next value."""
        self.raw(json.dumps(value, ensure_ascii=False))

    def raw(self, value: str) -> None:
        """Write a value that is JSON already."""
        self._place()
        self._parts.append(value)

    def _place(self) -> None:
        if not self._open:
            return
        level = self._open[-1]
        is_list, count = level
        level[1] += 1
        if is_list:
            if count:
                self._parts.append(", " if self.single_line else ",")
            if not self.single_line:
                self._parts.append("\n" + _INDENT * len(self._open))
        elif count % 2:
            self._parts.append(": ")
        else:
            self._parts.append((",\n" if count else "\n") + _INDENT * len(self._open))

    def document(self) -> bytes:
        """What was written. Bytes of strings that are no UTF-8 pass through unchanged."""
        return "".join(self._parts).encode("utf-8", "surrogateescape")


def decimal(value: float, *, double: bool) -> str:
    """A float as TensorFlow Serving prints it.

    Args:
        value: the number; a float32's value where not `double`.
        double: whether it comes from a float64 tensor.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    back = float(text)
    if (back if double else float(np.float32(back))) != value:
        text = f"{value:.17g}" if double else f"{value:.9g}"
    return text if "." in text or "e" in text else text + ".0"


def value_text(value: Any) -> str:
    """A parsed JSON value, printed for an error message."""
    writer = JsonWriter()
    _write(writer, value)
    return writer.document().decode("utf-8", "replace")


def _write(writer: JsonWriter, value: Any) -> None:
    if isinstance(value, dict):
        writer.start("{")
        for key, item in value.items():
            writer.text(key)
            _write(writer, item)
        writer.end()
    elif isinstance(value, list):
        writer.start("[")
        for item in value:
            _write(writer, item)
        writer.end()
    elif isinstance(value, str):
        writer.text(value)
    elif isinstance(value, float):
        writer.raw(decimal(value, double=True))
    else:
        writer.raw({None: "null", True: "true", False: "false"}.get(value, str(value)))


def error_document(message: str) -> bytes:
    """The body of a failed request."""
    return value_text({"error": message}).encode()
