"""Batches of slates for hypothesis."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


class Batch(NamedTuple):
    labels: np.ndarray  # (rows, width): −1, 0, 1 or 2
    scores: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    groups: np.ndarray  # (rows,)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    # Scores too close to each other would make the finite differences round off.
    scores = hnp.arrays(np.float64, shape, elements=st.integers(-300, 300).map(lambda n: n / 100))
    return Batch(
        labels=draw(hnp.arrays(np.int64, shape, elements=st.integers(-1, 2))).astype(np.float64),
        scores=draw(scores),
        reference=draw(scores),
        mask=draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 1), fill=st.just(1))),
        groups=draw(hnp.arrays(np.int64, shape[0], elements=st.sampled_from([-1, 0, 2**62]))),
    )
