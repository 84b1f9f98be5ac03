"""Slates, candidates and users as 64-bit keys, which sort and compare faster than texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.example_gen.columnar import Bools, text_hashes
from pipeline.logs.duplicates import mix

Keys = NDArray[np.uint64]
# SipHash with a key of its own: who is held out says nothing about anything else.
_HOLDOUT_HASH = "held-out users 1"


def keys_of(*columns: pa.ChunkedArray) -> Keys:
    """One key for each row of some text columns without nulls; equal rows have equal keys.

    Among a hundred million rows, the chance that any two others share one is a thousandth.
    """
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        keys = mix(keys ^ text_hashes(column)) + np.uint64(1)
    return keys


def held_out(user_id: pa.ChunkedArray, fraction: float) -> Bools:
    """Which rows are of held-out users: the same users in every span, `fraction` of all."""
    return text_hashes(user_id, _HOLDOUT_HASH) < np.uint64(int(fraction * (1 << 63))) * np.uint64(2)


def found_in(keys: Keys, known: Keys) -> Bools:
    """Which keys are among the sorted `known`."""
    if not len(known):
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[at] == keys
