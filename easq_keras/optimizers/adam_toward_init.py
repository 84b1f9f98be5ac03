"""Adam whose decay pulls each variable back to where it started."""

from typing import Any

import keras
from keras import ops

from easq_keras.arguments import at_least
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class AdamTowardInit(keras.optimizers.Adam):
    """Adam with decoupled decay towards the initial values instead of towards zero.

    One step is `θ ← θ − lr · decay · (θ − θ₀)`, then Adam's own step (AdamW with θ₀ = 0 is the
    familiar case). Meant for the satisfaction path of `easq_keras.models.EASQ`: answers are few
    and learnt many times, so the decay has to be strong, and a strong decay *to zero* can shrink
    the satisfaction score to a constant, of which nothing can be transferred. Towards θ₀ the
    network keeps its random features and cannot collapse.

    θ₀ is the value a variable has when the optimizer is built, which `EASQ.compile` does at once.
    It belongs to the optimizer's state and is saved with it: a model that is warm started goes on
    decaying towards its very first values, not towards those of the last checkpoint.

    Args:
        learning_rate: Step size, or a schedule. Defaults to 1e-3.
        decay: Decay in units of the learning rate: at `lr=1e-3` and `decay=10` a variable moves
            1 % of its way back each step, so that Adam's steps, of about `lr` each, keep it within
            about `1 / decay` of θ₀. Variables named in `exclude_from_weight_decay` are left out.
        **kwargs: Further arguments of `keras.optimizers.Adam`, without `weight_decay`.

    Raises:
        ValueError: `decay` is negative, or `weight_decay` is given.

    Examples:
        >>> w = keras.Variable([1.0, -2.0])
        >>> optimizer = AdamTowardInit(learning_rate=0.1, decay=5.0)
        >>> optimizer.build([w])
        >>> w.assign([3.0, -2.0])  # doctest: +ELLIPSIS
        <...>
        >>> optimizer.apply([np.zeros(2, "float32")])
        >>> np.asarray(w).tolist()   # half of the way back from 3 to 1
        [2.0, -2.0]
    """

    def __init__(self, learning_rate: Any = 0.001, decay: float = 10.0, **kwargs: Any) -> None:
        if kwargs.get("weight_decay"):
            raise ValueError(
                "`weight_decay` pulls to zero, `decay` to the initial values: give `decay` alone. "
                f"Received: weight_decay={kwargs['weight_decay']!r}."
            )
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.decay = at_least("decay", decay, 0)

    def build(self, variables: list[Any]) -> None:
        """Creates Adam's state and keeps a copy of the variables' values."""
        if self.built:
            return
        super().build(variables)
        self._initial_values = [
            self.add_variable_from_reference(
                variable, name="initial_value", initializer=_value_of(variable)
            )
            for variable in variables
        ]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Pulls `variable` towards its initial value, then lets Adam move it."""
        if self._use_weight_decay(variable):
            initial = self._initial_values[self._get_variable_index(variable)]
            rate = ops.cast(learning_rate, variable.dtype) * self.decay
            self.assign_sub(variable, rate * (variable - ops.cast(initial, variable.dtype)))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "decay": self.decay}


def _value_of(variable: Any) -> Any:
    """Returns an initializer that yields what `variable` holds now."""

    def initializer(shape: Any, dtype: Any = None) -> Tensor:
        return ops.cast(ops.copy(variable), dtype)

    return initializer
