"""Who is in which arm: by keyed hash of the user, as production systems split traffic.

The same user is always in the same arm; another key splits the same users anew, independently of
every other key.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

CONTROL, TREATMENT = 0, 1
ARMS = ("control", "treatment")


def place(user: str, key: str) -> float:
    """Where a user falls in [0, 1): uniform over users, fixed for a user and a key."""
    digest = hashlib.blake2b(user.encode(), digest_size=8, key=key.encode()).digest()
    # 53 bits: what a float holds exactly, so that 1.0 cannot be reached by rounding.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split(users: int, key: str, treatment_share: float = 0.5) -> NDArray[np.int8]:
    """The arm of each user id 0 … users - 1: `CONTROL` or `TREATMENT`.

    Args:
        users: How many there are.
        key: Names the test; at most 64 bytes.
        treatment_share: Share of the users in the treatment arm. A larger share only adds users
            to it.
    """
    places = np.fromiter((place(str(user), key) for user in range(users)), np.float64, users)
    return (places < treatment_share).astype(np.int8)


def mismatch_p_value(control: int, treatment: int, treatment_share: float) -> float:
    """Sample ratio mismatch: how likely is a split at least as uneven, if all is well?

    The χ² test with one degree of freedom. Very small (below 0.001): users got lost or were counted
    twice in one arm, and no other figure of the test can be believed.
    """
    total = control + treatment
    expected = total * treatment_share
    if expected in (0, total):
        return 1.0
    chi_square = (treatment - expected) ** 2 * (1 / expected + 1 / (total - expected))
    return math.erfc(math.sqrt(chi_square / 2))
