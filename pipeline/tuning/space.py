"""What the search tries, and in which order.

There are two kinds of settings. The *weight* that trades behaviour for satisfaction (EASQ's λ2) is
a variable of the compiled model: a trial that changes it alone costs one pass. The others (λ1, β,
K1, K2, rank) are compiled into the step, half a minute each time. So trials are nested: a few
models, and for each several weights. Both are drawn at random, each range cut into as many equal
parts as there are draws, one draw a part, so that few trials cover it evenly. The first trial is
the configured settings as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np

from easq_keras.models.methods import method_info
from easq_keras.models.settings import EMERSettings
from pipeline.configs import TrainerSettings

Values = dict[str, float | int]

# How many trials share a compiled model.
TRIALS_PER_MODEL = 4


@dataclass(frozen=True)
class Tunable:
    """One setting of the search.

    Attributes:
        name: Of the model's settings.
        configured: Its value without a search.
        low, high: The range of a number, drawn evenly on a logarithmic scale; None with `choices`.
        choices: The values of a whole number, otherwise empty.
    """

    name: str
    configured: float | int
    low: float | None = None
    high: float | None = None
    choices: tuple[int, ...] = ()

    def draw(self, count: int, rng: np.random.Generator) -> list[float | int]:
        """`count` values that cover what is searched evenly, in random order."""
        if count == 0:
            return []
        part = rng.permutation(count)
        if self.choices:
            chosen = np.array(self.choices)[part * len(self.choices) // count]
            return [int(value) for value in chosen]
        place = (part + rng.random(count)) / count
        low, high = np.log([self.low, self.high])
        return [float(value) for value in np.exp(low + place * (high - low))]

    def declare(self, space: keras_tuner.HyperParameters) -> None:
        """Enters the setting into keras-tuner's search space."""
        if self.choices:
            values = sorted({*self.choices, int(self.configured)})
            space.Choice(self.name, values, ordered=True, default=int(self.configured))
        else:
            space.Float(self.name, self.low, self.high, sampling="log", default=self.configured)


@dataclass(frozen=True)
class SearchSpace:
    """The settings that have an effect in one method.

    Attributes:
        weight: The weight that trades behaviour for satisfaction; None where the method has none.
        compiled: The settings that need a compiled model of their own.
    """

    weight: Tunable | None
    compiled: tuple[Tunable, ...]

    @property
    def tunables(self) -> tuple[Tunable, ...]:
        """All of them."""
        return self.compiled if self.weight is None else (self.weight, *self.compiled)


def search_space(settings: TrainerSettings) -> SearchSpace:
    """The search space of a method; its weight within the method's own grid."""
    info = method_info(settings.method)
    model = info.model.settings_class(**info.settings).replace(**settings.model_overrides)
    weight = None
    if info.trade_off is not None:
        value = getattr(model, info.trade_off)
        # A configured value beyond the grid widens the range.
        low, high = min([*info.grid, value or info.grid[0]]), max([*info.grid, value])
        weight = Tunable(info.trade_off, value, low, high)
    compiled = [tunable for tunable in _compiled(model) if tunable.name != info.trade_off]
    return SearchSpace(weight, tuple(compiled))


def _compiled(model: EMERSettings) -> list[Tunable]:
    found = []

    def add(name: str, has_effect: bool, **searched: Any) -> None:
        if has_effect and hasattr(model, name):
            found.append(Tunable(name, getattr(model, name), **searched))

    add("lambda_satisfaction", True, low=0.1, high=10.0)
    add("beta", getattr(model, "use_dpo", False), low=0.1, high=3.0)
    add("num_experts", model.use_moe, choices=(4, 6, 8, 12))
    add("num_satisfaction_experts", model.use_moe, choices=(2, 4, 6, 8))
    add("lora_rank", getattr(model, "use_lora", False), choices=(4, 8, 16, 32))
    return found


def plan_trials(space: SearchSpace, trials: int, seed: int) -> list[Values]:
    """The values of each trial, in the order in which they are tried.

    Args:
        space: What is searched.
        trials: How many.
        seed: Of what is drawn.
    """
    rng = np.random.default_rng(seed)
    each = 1 if space.weight is None else TRIALS_PER_MODEL
    models = -(-trials // each)
    drawn = {tunable.name: tunable.draw(models - 1, rng) for tunable in space.compiled}
    plan: list[Values] = []
    for model in range(models):
        compiled = {
            tunable.name: drawn[tunable.name][model - 1] if model else tunable.configured
            for tunable in space.compiled
        }
        count = min(each, trials - len(plan))
        if space.weight is None:
            plan.append(compiled)
            continue
        weights = [space.weight.configured] if model == 0 else []
        weights += space.weight.draw(count - len(weights), rng)
        plan += [{space.weight.name: weight, **compiled} for weight in weights]
    return plan


def compiled_part(space: SearchSpace, values: Mapping[str, Any]) -> Values:
    """The values that need a compiled model of their own."""
    return {tunable.name: values[tunable.name] for tunable in space.compiled}
