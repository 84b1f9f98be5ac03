"""Columns as files have them (Parquet types, or the text of a CSV) → typed values.

Every parser returns `Parsed`: the values, null where the file has none or has something else,
and a mask of the latter. Nothing is guessed: `12.0` is the whole number 12, `12.5` is not one.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["text", "id", "whole", "number", "flag", "time", "iso8601"]

# What a Parquet column of each kind may be, and how an error says so.
_ACCEPTED: dict[str, tuple[tuple[Any, ...], str]] = {}


def _accept(kind: str, said: str, *tests: Any) -> None:
    _ACCEPTED[kind] = (tests, said)


def _is_text(type_: pa.DataType) -> bool:
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
    )


_WHOLE = (pa.types.is_integer, pa.types.is_floating)
_accept("id", "text or an integer", _is_text, pa.types.is_integer)
_accept("text", "text, a number or a boolean", _is_text, *_WHOLE, pa.types.is_boolean)
_accept("whole", "a number", *_WHOLE)
_accept("number", "a number", *_WHOLE, pa.types.is_decimal, pa.types.is_boolean)
_accept("flag", "true/false or 1/0", *_WHOLE, pa.types.is_boolean)
_accept("time", "a number or a timestamp", *_WHOLE, pa.types.is_timestamp)
_accept("iso8601", "text or a timestamp", _is_text, pa.types.is_timestamp)


def expected_type(kind: Kind, type_: pa.DataType) -> str | None:
    """None if a Parquet column of `type_` can be read as `kind`, else what was expected."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    tests, said = _ACCEPTED[kind]
    return None if pa.types.is_null(type_) or any(test(type_) for test in tests) else said


@dataclass(frozen=True)
class Parsed:
    """Values of one column.

    Attributes:
        values: null where there is none.
        bad: mask of the values that could not be read; None if there are none.
    """

    values: pa.Array
    bad: np.ndarray | None = None


def as_mask(flags: pa.Array) -> np.ndarray:
    """A boolean array without nulls as a numpy mask."""
    return flags.to_numpy(zero_copy_only=False)


def nulls(values: pa.Array) -> np.ndarray | None:
    """Mask of the nulls; None if there are none."""
    return as_mask(values.is_null()) if values.null_count else None


def either(*masks: np.ndarray | None) -> np.ndarray | None:
    """The union of masks, where None is an empty one."""
    union = None
    for mask in masks:
        if mask is not None:
            union = mask if union is None else union | mask
    return union


def parse_text(column: pa.Array) -> Parsed:
    """Text, integers, booleans as text; an empty text is no value; invalid UTF-8 is bad."""
    column = _plain_array(column)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())  # Arrow computes nothing with halves
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    elif _is_text(column.type):
        column = column.cast(pa.binary())  # casting back checks the encoding
    parsed = _cast(column, pa.string())
    empty = pc.equal(pc.binary_length(parsed.values), 0)
    if pc.any(empty).as_py():
        return Parsed(pc.if_else(empty, None, parsed.values), parsed.bad)
    return parsed


def parse_number(column: pa.Array) -> Parsed:
    """Any number as float64; NaN is no value, infinities stay."""
    parsed = _numeric(column)
    values = parsed.values
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return Parsed(values.cast(pa.float64(), safe=False), parsed.bad)
    values = values.cast(pa.float64())
    return Parsed(pc.if_else(pc.is_nan(values), None, values), parsed.bad)


def parse_whole(column: pa.Array) -> Parsed:
    """Whole numbers as int64; 12.0 is one, 12.5 and infinity are bad, NaN is no value."""
    parsed = _numeric(column)
    values = parsed.values
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        whole = _cast(values, pa.int64())
        return Parsed(whole.values, either(parsed.bad, whole.bad))
    values = pc.if_else(pc.is_nan(values), None, values)
    exact = pc.and_(pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), float(2**53)))
    broken = as_mask(pc.fill_null(pc.invert(exact), False))
    values = pc.if_else(pc.fill_null(exact, False), values, None).cast(pa.int64())
    return Parsed(values, either(parsed.bad, broken if broken.any() else None))


def parse_flag(column: pa.Array, *, count: bool = False) -> Parsed:
    """true/false or 1/0 as booleans; with `count`, any number from 0 up (above 0 is true)."""
    column = _plain_array(column)
    if pa.types.is_boolean(column.type):
        return Parsed(column)
    if not _is_text(column.type):
        return _flags_of_numbers(column, count)
    text = parse_text(column)
    words = _cast(pc.utf8_trim_whitespace(text.values), pa.bool_())  # 0, 1, true, false
    if words.bad is None:
        return Parsed(words.values, text.bad)
    numbers = _flags_of_numbers(text.values, count)  # 1.0, or a count
    bad = None if numbers.bad is None else words.bad & numbers.bad
    return Parsed(pc.coalesce(words.values, numbers.values), either(text.bad, bad))


def _flags_of_numbers(column: pa.Array, count: bool) -> Parsed:
    parsed = parse_number(column)
    values = parsed.values
    if count:
        fine = pc.and_(pc.greater_equal(values, 0), pc.is_finite(values))
    else:
        fine = pc.or_(pc.equal(values, 0), pc.equal(values, 1))
    broken = as_mask(pc.fill_null(pc.invert(fine), False))
    flags = pc.if_else(pc.fill_null(fine, False), pc.greater(values, 0), None)
    return Parsed(flags, either(parsed.bad, broken if broken.any() else None))


_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# Outside of these a time is a mistake: 2000-01-01 and 2100-01-01, in seconds.
EARLIEST_SECOND, LATEST_SECOND = 946_684_800, 4_102_444_800


@dataclass(frozen=True)
class Times:
    """A parsed time column.

    Attributes:
        values: int64 milliseconds since 1970 UTC; null where there is none, or a wrong one.
        bad: mask of the values that are no times.
        outside: mask of the times before 2000 or after 2100.
        other_unit: a unit in which most of those outside would be inside; None if none.
    """

    values: pa.Array
    bad: np.ndarray | None
    outside: np.ndarray | None
    other_unit: str | None


def parse_time(column: pa.Array, unit: str) -> Times:
    """Numbers in `unit`, timestamps (in their own unit) or ISO 8601 text → milliseconds."""
    column = _plain_array(column)
    if pa.types.is_timestamp(column.type):
        parsed, unit = Parsed(column.cast(pa.int64())), column.type.unit
    elif unit == "iso8601":
        parsed, unit = _parse_iso8601(column), "us"
    else:
        parsed = _numeric(column)
    values = parsed.values
    if pa.types.is_floating(values.type):
        finite = pc.is_finite(values)
        broken = as_mask(pc.fill_null(pc.invert(pc.or_(finite, pc.is_nan(values))), False))
        values = pc.if_else(finite, values, None)
        bad = either(parsed.bad, broken if broken.any() else None)
    else:
        values, bad = values.cast(pa.int64()), parsed.bad
    inside = _inside(values, unit)
    if pc.all(inside, min_count=0).as_py() and not inside.null_count:
        return Times(_to_ms(values, unit), bad, None, None)
    outside = as_mask(pc.fill_null(pc.invert(inside), False))
    kept = pc.if_else(pc.fill_null(inside, False), values, None)
    other = _better_unit(values.filter(pa.array(outside)), unit)
    return Times(_to_ms(kept, unit), bad, outside if outside.any() else None, other)


def _inside(values: pa.Array, unit: str) -> pa.Array:
    ticks = _TICKS_PER_SECOND[unit]
    first, last = (
        pa.scalar(second * ticks).cast(values.type, safe=False)
        for second in (EARLIEST_SECOND, LATEST_SECOND)
    )
    return pc.and_(pc.greater_equal(values, first), pc.less(values, last))


def _to_ms(values: pa.Array, unit: str) -> pa.Array:
    ticks = _TICKS_PER_SECOND[unit]
    if pa.types.is_floating(values.type):
        return pc.round(pc.multiply(values, 1000 / ticks)).cast(pa.int64())
    if ticks < 1000:
        return pc.multiply(values, 1000 // ticks)
    return values if ticks == 1000 else pc.divide(values, ticks // 1000)


def _better_unit(outside: pa.Array, unit: str) -> str | None:
    for other in _TICKS_PER_SECOND:
        inside = pc.sum(_inside(outside, other)).as_py() or 0
        if other != unit and 2 * inside > len(outside):
            return other
    return None


def _parse_iso8601(column: pa.Array) -> Parsed:
    text = parse_text(column)
    values = pc.utf8_trim_whitespace(text.values)
    zoned = pc.match_substring_regex(values, r"(Z|[+-]\d\d(:?\d\d)?)$")
    dated = pc.match_substring_regex(values, r"\d[T ]\d")
    whole = pc.if_else(dated, values, pc.binary_join_element_wise(values, "T00:00:00", ""))
    zoned = pc.and_(zoned, dated)  # the end of a bare date looks like an offset
    whole = pc.if_else(zoned, whole, pc.binary_join_element_wise(whole, "Z", ""))
    parsed = _cast(whole, pa.timestamp("us", "UTC"))
    return Parsed(parsed.values.cast(pa.int64()), either(text.bad, parsed.bad))


def _plain_array(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    return column


def _numeric(column: pa.Array) -> Parsed:
    """Numbers as they are; text as int64 if all of it is whole, else as float64."""
    column = _plain_array(column)
    if pa.types.is_decimal(column.type) or pa.types.is_float16(column.type):
        return Parsed(column.cast(pa.float64(), safe=False))
    if not _is_text(column.type):
        return Parsed(column)
    text = parse_text(column)
    whole = _cast_all(text.values, pa.int64())
    if whole is not None:
        return Parsed(whole, text.bad)
    numbers = _cast(pc.utf8_trim_whitespace(text.values), pa.float64())
    return Parsed(numbers.values, either(text.bad, numbers.bad))


def _cast_all(values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    try:
        return values.cast(type_)
    except pa.ArrowInvalid:
        return None


def _cast(values: pa.Array, type_: pa.DataType) -> Parsed:
    """Casts what can be cast; the rest is null and bad. Fast where (nearly) all of it can."""
    if values.type == type_:
        return Parsed(values)
    whole = _cast_all(values, type_)
    if whole is not None:
        return Parsed(whole)
    pieces: list[pa.Array] = []
    bad = np.zeros(len(values), bool)
    waiting = [(0, len(values))]
    while waiting:  # halves again and again what holds a bad value
        start, stop = waiting.pop()
        piece = _cast_all(values.slice(start, stop - start), type_)
        if piece is not None:
            pieces.append(piece)
        elif stop - start == 1:
            bad[start] = True
            pieces.append(pa.nulls(1, type_))
        else:
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
    return Parsed(pa.concat_arrays(pieces), bad)
