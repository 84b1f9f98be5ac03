"""The backbone: candidates that see each other."""

from typing import Any

import keras
from keras import activations, initializers, ops, regularizers

from easq_keras.arguments import positive_int
from easq_keras.layers.initial_values import numbered
from easq_keras.layers.slate_encoder_block import DENSE_LAYERS, SlateEncoderBlock, unit_scale
from easq_keras.layers.slate_input import project
from easq_keras.shapes import agree
from easq_keras.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class SlateEncoder(keras.layers.Layer):
    """Encodes a slate by multi-head attention over its candidates.

    The backbone of EMER, which EASQ keeps (`h` of Eq. 6; section 5.1.4: multi-head attention,
    Softplus, L2 normalisation). A projection to `units`, then `num_layers` blocks of attention
    and feed-forward network with residuals, then a last normalisation. The slate is a set: there
    are no positions, and a permutation of the candidates permutes the output and does nothing
    else.

    L2 normalisation stands before each attention, before each network and at the end (so that
    the residual stream itself stays linear), always times √units so that scores do not shrink as
    the width grows. No Softplus at the end: an output of one sign gives all candidates a common
    direction, which a ReLU router answers by opening or closing an expert for all of them.

    Args:
        units: Width of the output.
        num_layers: Number of blocks. Defaults to 1.
        num_heads: Number of attention heads; divides `units`. Defaults to 4.
        hidden_dim: Width of the networks' hidden layer. Defaults to `2 * units`.
        activation: Activation of that layer. Defaults to `"softplus"`.
        kernel_initializer: Initializer of all kernels.
        bias_initializer: Initializer of all biases.
        kernel_regularizer: Regularizer of all kernels.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, slate, k)`.
        mask: `(batch, slate)`, 1 for a real candidate. What the others hold, NaN included, has no
            effect, and their output is 0; a slate without any candidate gives zeros.
        shared: `(batch, k_s)`: the first columns of the candidates' vectors, where a slate has
            them in common; `inputs` are then the others. Same result, less work.

    Output shape:
        `(batch, slate, units)`.

    Raises:
        ValueError: A size is no positive integer, `num_heads` does not divide `units`, or, when
            called, the mask has another shape.

    Examples:
        >>> encoder = SlateEncoder(units=8, num_heads=2)
        >>> h = encoder(np.ones((2, 3, 5)), mask=np.array([[1, 1, 1], [1, 0, 0]]))
        >>> tuple(h.shape)
        (2, 3, 8)
    """

    def __init__(
        self,
        units: int,
        num_layers: int = 1,
        num_heads: int = 4,
        hidden_dim: int | None = None,
        activation: Any = "softplus",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.num_layers = positive_int("num_layers", num_layers)
        self.num_heads = positive_int("num_heads", num_heads)
        if units % num_heads:
            raise ValueError(
                f"`num_heads` must divide `units`. Received: num_heads={num_heads}, units={units}."
            )
        self.hidden_dim = (
            2 * self.units if hidden_dim is None else positive_int("hidden_dim", hidden_dim)
        )
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, input_shape: Shape) -> None:
        """Creates the projection and the blocks."""
        self.projection = keras.layers.Dense(
            self.units, name="projection", **self._common_options(0)
        )
        self.projection.build(input_shape)
        self.blocks = [
            SlateEncoderBlock(
                self.num_heads,
                self.hidden_dim,
                activation=self.activation,
                name=f"block_{index}",
                **self._common_options(1 + DENSE_LAYERS * index),
            )
            for index in range(self.num_layers)
        ]
        for block in self.blocks:
            block.build((*input_shape[:-1], self.units))

    def _common_options(self, number: int) -> dict[str, Any]:
        return {
            "kernel_initializer": numbered(self.kernel_initializer, number),
            "bias_initializer": numbered(self.bias_initializer, number),
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
        }

    def call(
        self, inputs: Tensor, mask: Tensor | None = None, shared: Tensor | None = None
    ) -> Tensor:
        """Returns `(batch, slate, units)`."""
        if mask is None:
            return self._encode(inputs, None, shared)
        mask = ops.cast(mask, "bool")
        if not agree(mask.shape, inputs.shape[:2]):
            raise ValueError(
                "`mask` must have shape (batch, slate). Received: mask of shape "
                f"{tuple(mask.shape)}, inputs of shape {tuple(inputs.shape)}."
            )
        real = mask[:, :, None]
        inputs = ops.where(real, inputs, ops.zeros_like(inputs))
        if shared is not None:
            some = ops.any(mask, axis=1, keepdims=True)
            shared = ops.where(some, shared, ops.zeros_like(shared))
        h = self._encode(inputs, mask, shared)
        return ops.where(real, h, ops.zeros_like(h))

    def _encode(self, inputs: Tensor, mask: Tensor | None, shared: Tensor | None) -> Tensor:
        h = project(inputs, self.projection.kernel, shared) + self.projection.bias
        for block in self.blocks:
            h = block(h, mask=mask)
        return unit_scale(h)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(batch, slate, units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "activation": activations.serialize(self.activation),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }
