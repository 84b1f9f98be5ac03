"""Random numbers that depend on the seed and on what they are for, never on who asked before.

Each request owns a fixed stretch of one generator's sequence, found by skipping ahead to it, so a
request's luck is the same whether it is served alone, in a large batch, or under another ranking.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# A uniform draw is a multiple of 2**-24 below 1; 0, which has no logarithm, becomes half of that.
_LEAST = np.float32(2**-25)


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator for one purpose, independent of those for any other."""
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in purpose]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def uniform_rows(seed: int, purpose: str, first_row: int, rows: int, width: int) -> Floats:
    """Rows `first_row` … of an endless table of uniform numbers in (0, 1): [rows, width].

    `width` is even, as two numbers share a 64-bit word.
    """
    source = generator(seed, purpose)
    source.bit_generator.advance(first_row * (width // 2))  # type: ignore[attr-defined]
    table = source.random((rows, width), dtype=np.float32)
    return np.maximum(table, _LEAST, out=table)


def logistic(uniform: Floats) -> Floats:
    """Standard logistic noise (standard deviation π/√3) from uniform numbers in (0, 1)."""
    return np.log(uniform) - np.log(np.float32(1) - uniform)
