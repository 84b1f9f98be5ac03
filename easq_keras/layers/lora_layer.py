"""The low-rank update of a projection, kept apart from the projection."""

from typing import Any

import keras
from keras import constraints, initializers, ops, regularizers

from easq_keras.arguments import at_least, positive_int
from easq_keras.layers.slate_input import project
from easq_keras.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class LoRALayer(keras.layers.Layer):
    """Low-rank delta `(lora_alpha / rank) · x A B` of a linear projection.

    Eq. 7 of the EASQ paper, `h_LoRA = B A x`. The layer returns **only the delta**, never the
    projection plus the delta: EASQ needs the two apart to stop either one's gradient
    (Eqs. 8 and 12). So, unlike `keras.layers.Dense.enable_lora`, it freezes no kernel, and saving
    merges nothing: both matrices come back from a `.keras` file as they were.

    B starts at zero, hence the delta too: a model that gains a `LoRALayer` computes what it
    computed before, to the bit, until the first questionnaire answer is learnt.

    Args:
        units: Width of the delta, that of the projection it goes with.
        rank: Rank of the update. The weights have `rank * (k + units)` numbers.
        lora_alpha: The delta is scaled by `lora_alpha / rank`. Defaults to `rank`: Eq. 7 has no
            scale.
        a_initializer: Initializer of `lora_kernel_a`. Defaults to `"he_uniform"`.
        b_initializer: Initializer of `lora_kernel_b`. Defaults to `"zeros"`.
        a_regularizer: Regularizer of `lora_kernel_a`.
        b_regularizer: Regularizer of `lora_kernel_b`.
        a_constraint: Constraint of `lora_kernel_a`.
        b_constraint: Constraint of `lora_kernel_b`.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: `(..., k)`; or `(batch, slate, k_o)`, its last columns.
        shared: `(batch, k_s)`, the first columns, where a slate has them in common.

    Output shape:
        `(..., units)`.

    Raises:
        ValueError: `units` or `rank` is no positive integer, or `lora_alpha` not above 0; when
            called, the input has another number of columns than when built.

    Examples:
        >>> lora = LoRALayer(units=8, rank=2)
        >>> delta = lora(np.ones((4, 5, 16)))
        >>> tuple(delta.shape), float(ops.max(ops.abs(delta)))
        ((4, 5, 8), 0.0)
        >>> [(weight.name, tuple(weight.shape)) for weight in lora.weights]
        [('lora_kernel_a', (16, 2)), ('lora_kernel_b', (2, 8))]
    """

    def __init__(
        self,
        units: int,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
        a_regularizer: Any = None,
        b_regularizer: Any = None,
        a_constraint: Any = None,
        b_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.rank = positive_int("rank", rank)
        self.lora_alpha = (
            float(rank)
            if lora_alpha is None
            else at_least("lora_alpha", lora_alpha, 0, strictly=True)
        )
        self.a_initializer = initializers.get(a_initializer)
        self.b_initializer = initializers.get(b_initializer)
        self.a_regularizer = regularizers.get(a_regularizer)
        self.b_regularizer = regularizers.get(b_regularizer)
        self.a_constraint = constraints.get(a_constraint)
        self.b_constraint = constraints.get(b_constraint)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    @property
    def scale(self) -> float:
        """`lora_alpha / rank`."""
        return self.lora_alpha / self.rank

    def build(self, input_shape: Shape) -> None:
        """Creates A and B."""
        self.lora_kernel_a = self.add_weight(
            name="lora_kernel_a",
            shape=(input_shape[-1], self.rank),
            initializer=self.a_initializer,
            regularizer=self.a_regularizer,
            constraint=self.a_constraint,
        )
        self.lora_kernel_b = self.add_weight(
            name="lora_kernel_b",
            shape=(self.rank, self.units),
            initializer=self.b_initializer,
            regularizer=self.b_regularizer,
            constraint=self.b_constraint,
        )

    def call(self, inputs: Tensor, shared: Tensor | None = None) -> Tensor:
        """Returns the delta, `(..., units)`."""
        delta = ops.matmul(project(inputs, self.lora_kernel_a, shared), self.lora_kernel_b)
        return delta if self.scale == 1.0 else delta * self.scale

    def get_delta_weight(self) -> Tensor:
        """Returns `(lora_alpha / rank) · A B`, `(k, units)`: what a kernel gains when folded."""
        return ops.matmul(self.lora_kernel_a.value, self.lora_kernel_b.value) * self.scale

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(..., units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "rank": self.rank,
            "lora_alpha": self.lora_alpha,
            "a_initializer": initializers.serialize(self.a_initializer),
            "b_initializer": initializers.serialize(self.b_initializer),
            "a_regularizer": regularizers.serialize(self.a_regularizer),
            "b_regularizer": regularizers.serialize(self.b_regularizer),
            "a_constraint": constraints.serialize(self.a_constraint),
            "b_constraint": constraints.serialize(self.b_constraint),
        }
