"""`sparsity`: what is left of each method as answers become rarer, down to the paper's rate."""

from __future__ import annotations

from experiments.frontier import Frontier
from experiments.options import Entry, Options

DENSITIES = (2e-2, 1e-2, 2e-3, 5e-4, 1e-4)
METHODS = (
    "EMER_s-pair",
    "EMER_s-level",
    "Imputation",
    "SAQRec-listwise",
    "Blend",
    "EASQ",
    "EASQ-paper",
)
_QUICK_METHODS = ("EMER_s-level", "Blend", "EASQ")


def _entries(options: Options) -> list[Entry]:
    few = options.quick and options.methods is None
    return [Entry.of(name) for name in options.chosen(_QUICK_METHODS if few else METHODS)]


EXPERIMENT = Frontier(
    "gain at matched cost from 2·10⁻² answers a view down to 10⁻⁴", _entries, DENSITIES
)
