"""`bias`: what it costs that satisfied people answer more, and what weighting answers wins back."""

from __future__ import annotations

from experiments.frontier import Frontier
from experiments.options import MIDDLE, Entry, Options

UNIFORM, INVERSE = "uniform", "inverse propensity"


def entries(options: Options) -> list[Entry]:
    """EASQ and the blend, with answers counted alike and by inverse propensity."""
    rows = [
        Entry("EASQ", "EASQ", answer_weights=UNIFORM),
        Entry("EASQ, IPW", "EASQ", answer_weights=INVERSE),
        Entry("Blend", "Blend", answer_weights=UNIFORM),
        Entry("Blend, IPW", "Blend", answer_weights=INVERSE),
    ]
    return options.chosen_entries(rows)


# The log-odds of answering rise by this from satisfaction 0 to 1: none, the usual, a strong bias.
EXPERIMENT = Frontier(
    "response bias, with and without weighting answers by inverse propensity",
    entries,
    (MIDDLE,),
    (0.0, 0.8, 3.0),
)
