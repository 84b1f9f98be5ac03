"""`sensitivity` (Fig. 6 of the paper): one setting of the recommended preset changed at a time."""

from __future__ import annotations

from experiments.frontier import OURS, Frontier
from experiments.options import MIDDLE, Entry, Options
from experiments.runs import settings_of

VALUES: dict[str, tuple[float, ...]] = {
    "num_experts": (2, 4, 8, 12),
    "num_satisfaction_experts": (2, 6, 8),
    "lambda_satisfaction": (0.1, 0.3, 3.0, 10.0),
    "lora_rank": (2, 4, 8, 32),
    "beta": (0.1, 0.3, 3.0),
    "satisfaction_decay": (1.0, 3.0, 30.0),
}
_GRID = (0.3, 0.6, 1.2)
# The preset has no experts; rows that change their number have them.
_OF_EXPERTS = ("num_experts", "num_satisfaction_experts")
_QUICK = ("num_experts", "lora_rank")


def entries(options: Options) -> list[Entry]:
    """The recommended preset and its neighbours; in a quick run two of them."""
    rows = [Entry(OURS, OURS, grid=_GRID)]
    changed = {name: VALUES[name][:1] for name in _QUICK} if options.quick else VALUES
    for name, values in changed.items():
        for value in values:
            # λ2 β is what sets the place on the frontier.
            grid = tuple(weight / value for weight in _GRID) if name == "beta" else _GRID
            changes = {name: value, **({"use_moe": True} if name in _OF_EXPERTS else {})}
            rows.append(Entry(f"{name}={value:g}", OURS, settings_of(**changes), grid=grid))
    return options.chosen_entries(rows)


EXPERIMENT = Frontier(
    "one setting of EASQ changed at a time: K1, K2, λ1, rank, β, decay; λ2 is what is swept",
    entries,
    (MIDDLE,),
)
