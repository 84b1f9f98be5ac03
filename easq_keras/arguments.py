"""Checks of constructor arguments, so that a wrong one is refused by name at once."""

import math
from collections.abc import Collection
from typing import Any


def positive_int(name: str, value: Any) -> int:
    """Returns `value` if it is an integer of at least 1.

    Args:
        name: Name of the argument, for the message.
        value: What the caller passed.

    Raises:
        ValueError: `value` is no integer, or below 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")
    return int(value)


def at_least(name: str, value: Any, minimum: float, *, strictly: bool = False) -> float:
    """Returns `value` if it is a finite number not below `minimum`.

    Args:
        name: Name of the argument, for the message.
        value: What the caller passed.
        minimum: The smallest number allowed.
        strictly: Refuse `minimum` itself too.

    Raises:
        ValueError: `value` is no finite number, or too small.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < minimum or (strictly and value == minimum):
        bound = "above" if strictly else "of at least"
        raise ValueError(
            f"`{name}` must be a finite number {bound} {minimum}. Received: {name}={value!r}."
        )
    return float(value)


def one_of(name: str, value: Any, choices: Collection[str]) -> str:
    """Returns `value` if it is one of `choices`.

    Args:
        name: Name of the argument, for the message.
        value: What the caller passed.
        choices: What is allowed.

    Raises:
        ValueError: `value` is not among `choices`.
    """
    if not isinstance(value, str) or value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {allowed}. Received: {name}={value!r}.")
    return value
