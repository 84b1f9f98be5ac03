"""One feed-forward network that scores."""

from typing import Any

import keras

from easq_keras.activations import softplus
from easq_keras.arguments import positive_int
from easq_keras.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class ScoreNetwork(keras.layers.Layer):
    """`(..., d) → (..., 1)`: a Softplus hidden layer and a linear output.

    Takes the place of a mixture of experts in the ablation "w/o MoE", and is the behaviour head.

    Args:
        hidden_dim: Width of the hidden layer.
        output_bias: Whether the output has a bias.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Raises:
        ValueError: `hidden_dim` is no positive integer.

    Examples:
        >>> tuple(ScoreNetwork(hidden_dim=4)(np.ones((2, 3, 5))).shape)
        (2, 3, 1)
    """

    def __init__(self, hidden_dim: int, output_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = positive_int("hidden_dim", hidden_dim)
        self.output_bias = bool(output_bias)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Creates both layers."""
        self.hidden = keras.layers.Dense(self.hidden_dim, dtype=self.dtype_policy, name="hidden")
        self.hidden.build(input_shape)
        self.output_layer = keras.layers.Dense(
            1,
            use_bias=self.output_bias,
            dtype=self.dtype_policy,
            name="output",
        )
        self.output_layer.build((*input_shape[:-1], self.hidden_dim))

    def call(self, inputs: Tensor) -> Tensor:
        """Returns `(..., 1)`."""
        return self.output_layer(softplus(self.hidden(inputs)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(..., 1)`."""
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_bias": self.output_bias,
        }
