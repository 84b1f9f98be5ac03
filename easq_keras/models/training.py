"""Pieces of the training step. They are TensorFlow's: Keras leaves gradients to the backend."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from easq_keras.types import Tensor


class Report:
    """Scalars to report of one step, with their weights in the mean over an epoch."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor, known: Tensor | None = None) -> None:
        """Adds a scalar.

        Args:
            name: Its name.
            value: The scalar; booleans count as 0 and 1.
            known: Boolean scalar: whether this step has it. None: always.
        """
        self.values[name] = ops.stop_gradient(ops.cast(value, "float32"))
        if known is not None:
            self.weights[name] = ops.cast(known, "float32")

    def add_router(self, prefix: str, activity: Mapping[str, Tensor], mask: Tensor) -> None:
        """Adds how busy a router was, if it was shown any candidate.

        Args:
            prefix: What the names start with.
            activity: What `MixtureOfExperts.router_activity` returned, or nothing.
            mask: `(rows, slate)` booleans: the candidates it was shown.
        """
        for name, value in activity.items():
            self.add(f"{prefix}/{name}", value, ops.any(mask))


class Objective(NamedTuple):
    """What a batch asks of the model.

    Attributes:
        behaviour: Loss of everything but the satisfaction path: L_main and λ2 L_DPO.
        satisfaction: Loss of the satisfaction path, λ1 L_satis; None for a model without one.
        has_answers: Whether the satisfaction path may move, a boolean scalar; None without one.
        terms: The single losses before their weights, by name.
        report: What to report.
    """

    behaviour: Tensor
    satisfaction: Tensor | None
    has_answers: Tensor | None
    terms: dict[str, Tensor]
    report: Report


def unpack(data: Any) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Returns features and labels of a batch.

    Raises:
        ValueError: The batch is no pair of dictionaries, lacks the behaviour labels, or carries
            sample weights.
    """
    features, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(features, Mapping) or not isinstance(labels, Mapping):
        raise ValueError(
            "A batch is a pair (features, labels) of dictionaries. "
            f"Received: ({type(features).__name__}, {type(labels).__name__})."
        )
    if weights is not None:
        raise ValueError(
            "Sample weights have no meaning for losses over pairs of candidates; set the labels of "
            "what shall not count to -1."
        )
    if "behaviour" not in labels:
        raise ValueError(f"The labels lack 'behaviour'. Received: {sorted(labels)}.")
    return features, labels


def check_labels(labels: Mapping[str, Tensor], slates: Sequence[int | None]) -> None:
    """Checks the shapes of the labels against that of the slates.

    Args:
        labels: The labels of a batch.
        slates: `(batch, slate)`, None for a size that is not known.

    Raises:
        ValueError: A shape is another one; the message names the label.
    """
    per_candidate = ("behaviour", "answer", "exposed")
    expected = dict.fromkeys(per_candidate, tuple(slates)) | {"pair_group": (slates[0],)}
    for name, shape in expected.items():
        if name not in labels:
            continue
        found = tuple(labels[name].shape)
        fits = len(found) == len(shape) and all(
            a is None or b is None or a == b for a, b in zip(found, shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"The label {name!r} must have shape {shape}, as the slates have it. "
                f"Received: shape {found}."
            )


def gradients(tape: tf.GradientTape, loss: Tensor, variables: Sequence[Any]) -> list[Any]:
    """Returns the gradients of a loss, those of embedding tables as dense as the tables.

    A table's gradient comes as one row a lookup, and Keras's optimizers square such rows one by
    one: of an id that a batch has n times Adam would see Σ g² where (Σ g)² belongs, and divide by
    too little. Summed once, it is also cheaper than summed once for each moment.

    Args:
        tape: The tape that saw the loss.
        loss: A scalar.
        variables: What to differentiate for.
    """
    return [
        tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
        for gradient in tape.gradient(loss, variables)
    ]


def replica_count() -> int:
    """Returns over how many replicas the gradients of this step are summed."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def mean_over_replicas(number: Tensor) -> Tensor:
    """Returns the mean of a number over the replicas; of one replica, the number itself.

    A loss is a sum over pairs or answers, divided by how many there are. Divided by the mean
    number over the replicas instead, and by the number of replicas in the training step, the
    replicas' losses add up to that of all their rows in one batch, whoever has how many.

    Args:
        number: A scalar without gradient.
    """
    replicas = replica_count()
    if replicas == 1:
        return number
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, number)
    return total / replicas


def at_least_one(number: Tensor) -> Tensor:
    """Returns a number of things to divide by: where no replica has any, what stands for one.

    Args:
        number: What `mean_over_replicas` returned.
    """
    return ops.maximum(number, 1.0 / replica_count())


def shared_mean(mean: Tensor, count: Tensor) -> Tensor:
    """Returns what a mean over one replica's pairs contributes to that over the pairs of all.

    Args:
        mean: Over the replica's own pairs, 0 without any; a scalar.
        count: How many they are.
    """
    if replica_count() == 1:
        return mean
    return mean * count / at_least_one(mean_over_replicas(count))


def on_any_replica(condition: Tensor) -> Tensor:
    """Returns whether a condition holds on any replica, a boolean scalar."""
    if replica_count() == 1:
        return condition
    number = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, ops.cast(condition, "int32")
    )
    return number > 0


def apply_if(condition: Tensor, optimizer: Any, gradients: Sequence[Any], variables: Any) -> None:
    """Lets the optimizer move the variables if the condition holds, and else touches nothing.

    Nothing means: neither the variables (by momentum or decay) nor the optimizer's own state, its
    step count included. Both outcomes are computed and one is kept: the step has one shape for
    XLA, and no replica misses the optimizer's all-reduce.

    Args:
        condition: Boolean scalar, the same on all replicas.
        optimizer: A built Keras optimizer.
        gradients: One gradient a variable.
        variables: What to move.
    """
    state = [*variables, *optimizer.variables]
    before = [ops.copy(variable) for variable in state]
    optimizer.apply(gradients, variables)
    for variable, old in zip(state, before, strict=True):
        variable.assign(ops.where(condition, variable, old))
