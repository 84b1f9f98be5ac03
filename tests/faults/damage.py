"""Ways in which a file goes bad, and what may come of it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

KINDS = ("a bit flipped", "cut short", "a block of zeros")


def damage(path: Path, dice: random.Random) -> str:
    """Damages a file in one of the ways; returns which one it was."""
    data = bytearray(path.read_bytes())
    kind = dice.choice(KINDS)
    place = dice.randrange(len(data))
    if kind == "a bit flipped":
        data[place] ^= 1 << dice.randrange(8)
    elif kind == "cut short":
        del data[place:]
    else:
        end = min(place + 512, len(data))
        if not any(data[place:end]):  # zeros already
            data[place] = 1
        else:
            data[place:end] = bytes(end - place)
    # Not in place: links to the file keep what they have.
    path.unlink()
    path.write_bytes(data)
    return kind


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def attempt(errors: tuple[type[Exception], ...], action: Callable[[], T]) -> tuple[str, T | None]:
    """What an action said where it raised one of the errors, "" otherwise; and what it returned."""
    try:
        return "", action()
    except errors as error:
        return str(error), None
