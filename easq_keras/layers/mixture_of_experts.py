"""What all routers share: batched experts, the gate, and how busy the experts are."""

import abc
from typing import Any

import keras
from keras import activations, constraints, initializers, ops, regularizers

from easq_keras.activations import compiled_well
from easq_keras.arguments import at_least, positive_int
from easq_keras.layers.initial_values import Stacked
from easq_keras.precision import accumulated
from easq_keras.types import Shape, Tensor

# Added to the variance of the router's input before its root is taken.
NORM_EPSILON = 1e-6


class MixtureOfExperts(keras.layers.Layer, abc.ABC):
    """Base of the routed layers: `y = Σ_e gate_e(h) · FFN_e(h)`.

    A subclass says in `route` how gate logits become gates. To bring another auxiliary loss or
    experts of another kind, override `router_aux_loss` or `expert_outputs`.

    Each expert is a feed-forward network `d → hidden_dim → units` without an activation at its
    end. The weights of all experts are one array with the expert as first axis.

    Args:
        units: Width of the output; 1 for a score.
        num_experts: Number of routed experts.
        hidden_dim: Width of an expert's hidden layer.
        activation: Activation of the hidden layer. Defaults to `"softplus"` (EASQ paper, 5.1.4).
        router_norm: Standardise the router's input over its features (zero mean, unit variance,
            no weights). Without it a router whose inputs share a direction, as those of one slate
            do, turns an expert on or off for all of them at once. Defaults to True; the paper has
            no such step.
        router_aux_loss_coef: Weight of the auxiliary loss that is added while training. Defaults
            to 0: the paper has none.
        shared_expert: Add one expert that is always on, with gate 1. Keeps a candidate whose
            gates are all closed from scoring exactly 0 without a gradient. Defaults to False.
        gate_initializer: Initializer of the gate's kernel.
        gate_bias_initializer: Initializer of the gate's bias. Defaults to None: no bias, as in
            the paper. A constant of 1 keeps most experts open at the start.
        kernel_initializer: Initializer of the experts' kernels, called once an expert.
        bias_initializer: Initializer of the experts' biases.
        gate_regularizer: Regularizer of the gate's kernel.
        kernel_regularizer: Regularizer of the experts' kernels.
        bias_regularizer: Regularizer of the experts' biases.
        gate_constraint: Constraint of the gate's kernel.
        kernel_constraint: Constraint of the experts' kernels.
        bias_constraint: Constraint of the experts' biases.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: `(..., d)`.
        mask: `(...)`, 0 where the auxiliary loss shall not look. The output does not depend on it.
        training: Whether the auxiliary loss is added.

    Raises:
        ValueError: A size is no positive integer, or the coefficient is negative.

    Examples:
        >>> class SigmoidMoE(MixtureOfExperts):
        ...     def route(self, logits):
        ...         return ops.sigmoid(logits)
        >>> head = SigmoidMoE(units=1, num_experts=3, hidden_dim=8)
        >>> tuple(head(np.ones((2, 5, 16))).shape)
        (2, 5, 1)
    """

    def __init__(
        self,
        units: int,
        num_experts: int,
        hidden_dim: int,
        activation: Any = "softplus",
        router_norm: bool = True,
        router_aux_loss_coef: float = 0.0,
        shared_expert: bool = False,
        gate_initializer: Any = "glorot_uniform",
        gate_bias_initializer: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        gate_regularizer: Any = None,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        gate_constraint: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.num_experts = positive_int("num_experts", num_experts)
        self.hidden_dim = positive_int("hidden_dim", hidden_dim)
        self.activation = activations.get(activation)
        self.router_norm = bool(router_norm)
        self.router_aux_loss_coef = at_least("router_aux_loss_coef", router_aux_loss_coef, 0)
        self.shared_expert = bool(shared_expert)
        self.gate_initializer = initializers.get(gate_initializer)
        self.gate_bias_initializer = initializers.get(gate_bias_initializer)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.gate_regularizer = regularizers.get(gate_regularizer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.gate_constraint = constraints.get(gate_constraint)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    @abc.abstractmethod
    def route(self, logits: Tensor) -> Tensor:
        """Turns gate logits `(..., num_experts)` into gates `(..., num_experts)` of at least 0."""

    def router_aux_loss(self, logits: Tensor, gates: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the auxiliary loss before its coefficient, a scalar.

        Here `E · Σ_e share_e · mean gate_e`, `share_e` being the share of tokens that open expert
        e, without its gradient: it closes gates, those of busy experts first.

        Args:
            logits: `(tokens, num_experts)`.
            gates: `(tokens, num_experts)`.
            mask: `(...)` with as many entries as tokens, 0 for what does not count, or None.
        """
        return self.load_balance(gates, gates, mask)

    def load_balance(self, gates: Tensor, shares: Tensor, mask: Tensor | None) -> Tensor:
        """Returns `E · Σ_e share_e · mean shares_e`, a scalar.

        Args:
            gates: `(tokens, num_experts)`; above 0 means open.
            shares: `(tokens, num_experts)`, what the gradient goes to.
            mask: As for `router_aux_loss`.
        """
        busy = ops.stop_gradient(mean_over_tokens(accumulated(gates > 0), mask))
        return self.num_experts * ops.sum(busy * mean_over_tokens(shares, mask))

    def build(self, input_shape: Shape) -> None:
        """Creates the gate and the experts; the shared expert is the last of them."""
        width = input_shape[-1]
        experts = self.num_experts + self.shared_expert
        self.gate_kernel = self.add_weight(
            name="gate_kernel",
            shape=(width, self.num_experts),
            initializer=self.gate_initializer,
            regularizer=self.gate_regularizer,
            constraint=self.gate_constraint,
        )
        self.gate_bias = (
            None
            if self.gate_bias_initializer is None
            else self.add_weight(
                name="gate_bias",
                shape=(self.num_experts,),
                initializer=self.gate_bias_initializer,
            )
        )
        self.hidden_kernel = self._expert_kernel("hidden_kernel", (experts, width, self.hidden_dim))
        self.hidden_bias = self._expert_bias("hidden_bias", (experts, self.hidden_dim))
        self.output_kernel = self._expert_kernel(
            "output_kernel", (experts, self.hidden_dim, self.units)
        )
        self.output_bias = self._expert_bias("output_bias", (experts, self.units))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: width})

    def _expert_kernel(self, name: str, shape: Shape) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=Stacked(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )

    def _expert_bias(self, name: str, shape: Shape) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def call(self, inputs: Tensor, mask: Tensor | None = None, training: bool = False) -> Tensor:
        """Returns `(..., units)`."""
        # Matrices, not stacks of them: their products and the gradients of these are faster.
        tokens = ops.reshape(inputs, (-1, inputs.shape[-1]))
        logits = self.gate_logits(tokens)
        gates = self.route(logits)
        if training and self.router_aux_loss_coef > 0:
            self.add_loss(self.router_aux_loss_coef * self.router_aux_loss(logits, gates, mask))
        outputs = self.expert_outputs(tokens)
        routed = outputs[:, : self.num_experts] if self.shared_expert else outputs
        y = ops.sum(gates[:, :, None] * routed, axis=1)
        if self.shared_expert:
            y = y + outputs[:, self.num_experts]
        return ops.reshape(y, (*ops.shape(inputs)[:-1], self.units))

    def expert_outputs(self, tokens: Tensor) -> Tensor:
        """Returns what each expert says, the shared one last: `(tokens, experts, units)`.

        Args:
            tokens: `(tokens, d)`.
        """
        experts, width, hidden = self.hidden_kernel.shape
        # One product for the hidden layers of all experts: its gradient is one product too.
        kernel = ops.reshape(ops.transpose(self.hidden_kernel, (1, 0, 2)), (width, -1))
        bias = ops.reshape(self.hidden_bias, (-1,))
        inner = compiled_well(self.activation)(ops.matmul(tokens, kernel) + bias)
        inner = ops.reshape(inner, (-1, experts, hidden))
        if self.units == 1:
            output = ops.sum(inner * self.output_kernel[:, :, 0], axis=-1)[..., None]
        else:
            output = ops.einsum("teh,ehu->teu", inner, self.output_kernel)
        return output + self.output_bias

    def gate_logits(self, inputs: Tensor) -> Tensor:
        """Returns what the router decides on, `(..., num_experts)`."""
        if self.router_norm:
            wide = accumulated(inputs)
            centred = wide - ops.mean(wide, axis=-1, keepdims=True)
            variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
            inputs = ops.cast(centred * ops.rsqrt(variance + NORM_EPSILON), self.compute_dtype)
        logits = ops.matmul(inputs, ops.cast(self.gate_kernel, self.compute_dtype))
        if self.gate_bias is None:
            return logits
        return logits + ops.cast(self.gate_bias, self.compute_dtype)

    def gates(self, inputs: Tensor) -> Tensor:
        """Returns the gates of the routed experts, `(..., num_experts)`.

        Args:
            inputs: `(..., d)`, what the layer, which must have been built, is called with.
        """
        return self.route(self.gate_logits(ops.cast(inputs, self.compute_dtype)))

    def router_activity(self, inputs: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Tells how busy the routed experts are; computes the gates only.

        Args:
            inputs: `(..., d)`, what the layer is called with.
            mask: `(...)`, 0 for candidates that do not count.

        Returns:
            Scalars: `"share_active"`, the share of open gates; `"dead_experts"`, the number of
            experts open for no candidate; `"all_dead_candidates"`, the share of candidates all of
            whose gates are closed (their score is exactly 0 unless there is a shared expert). A
            mask that leaves nothing gives 0, all experts, 0.
        """
        # As in `call`, so that a compiler sees that the gates are known already.
        tokens = ops.reshape(inputs, (-1, inputs.shape[-1]))
        opened = ops.cast(self.gates(tokens) > 0, "float32")
        ever_opened = mean_over_tokens(opened, mask) > 0
        any_open = ops.any(opened > 0, axis=-1, keepdims=True)
        dead = ops.cast(self.num_experts - ops.sum(ops.cast(ever_opened, "int32")), "float32")
        return {
            "share_active": ops.mean(mean_over_tokens(opened, mask)),
            "dead_experts": dead,
            "all_dead_candidates": mean_over_tokens(ops.logical_not(any_open), mask)[0],
        }

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(..., units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "num_experts": self.num_experts,
            "hidden_dim": self.hidden_dim,
            "activation": activations.serialize(self.activation),
            "router_norm": self.router_norm,
            "router_aux_loss_coef": self.router_aux_loss_coef,
            "shared_expert": self.shared_expert,
            "gate_initializer": initializers.serialize(self.gate_initializer),
            "gate_bias_initializer": (
                None
                if self.gate_bias_initializer is None
                else initializers.serialize(self.gate_bias_initializer)
            ),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "gate_regularizer": regularizers.serialize(self.gate_regularizer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "gate_constraint": constraints.serialize(self.gate_constraint),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


def mean_over_tokens(values: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the mean of `(..., n)` over all but the last axis, `(n,)`, in float32 or wider.

    Args:
        values: `(..., n)`.
        mask: `(...)`, 0 for what does not count, or None. Where nothing counts the mean is 0.
    """
    flat = ops.reshape(accumulated(values), (-1, values.shape[-1]))
    if mask is None:
        return ops.mean(flat, axis=0)
    counts = ops.reshape(ops.cast(ops.cast(mask, "bool"), flat.dtype), (-1, 1))
    kept = ops.where(counts > 0, flat, ops.zeros_like(flat))
    return ops.sum(kept, axis=0) / ops.maximum(ops.sum(counts), 1.0)
