"""Attention over the candidates of a slate, then a network for each of them."""

import math
from typing import Any

import keras
from keras import activations, initializers, ops, regularizers

from easq_keras.activations import compiled_well
from easq_keras.arguments import positive_int
from easq_keras.layers.initial_values import numbered
from easq_keras.precision import accumulated
from easq_keras.types import Shape, Tensor

# Added to the squared length of a vector before its root is taken; makes a zero vector stay one.
NORM_EPSILON = 1e-6
# Number of layers that draw their own initial values.
DENSE_LAYERS = 4
# What the attention to a masked candidate loses: its weight is exactly 0 in float32.
CLOSED = -1e9


@keras.saving.register_keras_serializable(package="easq_keras")
class SlateEncoderBlock(keras.layers.Layer):
    """`h + attention(norm(h))`, then `h + network(norm(h))`; the width stays.

    Permutation-equivariant over the candidates: no positions, no causal order, no dropout.

    Args:
        num_heads: Number of attention heads; divides the width of the input.
        hidden_dim: Width of the network's hidden layer.
        activation: Activation of that layer. Defaults to `"softplus"` (EASQ paper, 5.1.4).
        kernel_initializer: Initializer of the kernels.
        bias_initializer: Initializer of the biases.
        kernel_regularizer: Regularizer of the kernels.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, slate, d)`.
        mask: `(batch, slate)`, 0 for candidates that no other one may look at.

    Output shape:
        `(batch, slate, d)`.

    Raises:
        ValueError: A size is no positive integer, or `num_heads` does not divide the width.

    Examples:
        >>> block = SlateEncoderBlock(num_heads=2, hidden_dim=16)
        >>> tuple(block(np.ones((3, 5, 8))).shape)
        (3, 5, 8)
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        activation: Any = "softplus",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = positive_int("num_heads", num_heads)
        self.hidden_dim = positive_int("hidden_dim", hidden_dim)
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, input_shape: Shape) -> None:
        """Creates the projections."""
        width = input_shape[-1]
        if width is None or width % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the width of the input. "
                f"Received: num_heads={self.num_heads}, width={width}."
            )
        self.width = width
        # Queries, keys and values in one product.
        self.attention_in = self._dense("attention_in", 0, 3 * width, width)
        self.attention_out = self._dense("attention_out", 1, width, width)
        self.network_in = self._dense("network_in", 2, self.hidden_dim, width)
        self.network_out = self._dense("network_out", 3, width, self.hidden_dim)

    def _dense(self, name: str, number: int, units: int, width: int) -> Any:
        layer = keras.layers.Dense(
            units,
            kernel_initializer=numbered(self.kernel_initializer, number),
            bias_initializer=numbered(self.bias_initializer, number),
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, width))
        return layer

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns `(batch, slate, d)`."""
        # Matrices, not stacks of them: their products and the gradients of these are faster.
        tokens = ops.reshape(inputs, (-1, self.width))
        tokens = tokens + self._attention(unit_scale(tokens), ops.shape(inputs), mask)
        activation = compiled_well(self.activation)
        tokens = tokens + self.network_out(activation(self.network_in(unit_scale(tokens))))
        return ops.reshape(tokens, ops.shape(inputs))

    def _attention(self, tokens: Tensor, shape: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        head = self.width // self.num_heads
        split = ops.reshape(self.attention_in(tokens), (*shape[:2], 3, self.num_heads, head))
        query, key, value = ops.unstack(ops.transpose(split, (2, 0, 3, 1, 4)), 3, axis=0)
        scores = ops.matmul(query * (1.0 / math.sqrt(head)), ops.transpose(key, (0, 1, 3, 2)))
        scores = accumulated(scores)
        if mask is not None:
            closed = 1.0 - ops.cast(ops.cast(mask, "bool"), scores.dtype)
            scores = scores + CLOSED * closed[:, None, None, :]
        weights = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.attention_out(ops.reshape(mixed, (-1, self.width)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "activation": activations.serialize(self.activation),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


def unit_scale(h: Tensor) -> Tensor:
    """L2-normalises the last axis, then multiplies by the root of its width.

    The plain L2 norm makes the entries of a vector of width d shrink as 1/√d, and with them the
    gate logits and the scores behind it; after the factor they have a root mean square of 1
    whatever the width. A zero vector stays zero.

    Args:
        h: `(..., d)`.
    """
    wide = accumulated(h)
    mean_square = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(mean_square + NORM_EPSILON), h.dtype)
