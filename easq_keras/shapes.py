"""Checks of the tensors of a batch, by name."""

from easq_keras.types import Shape, Tensor


def agree(shape: Shape, other: Shape) -> bool:
    """Whether two shapes can be the same; an unknown size agrees with any.

    Args:
        shape: A shape.
        other: Another one.
    """
    return len(shape) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(shape, other, strict=True)
    )


def refuse_ragged(name: str, tensor: Tensor) -> None:
    """Raises ValueError if a tensor has rows of different lengths.

    Args:
        name: Name of the argument, for the message.
        tensor: What the caller passed.
    """
    # By its name: the library knows no backend, and only one of them has such tensors.
    if type(tensor).__name__ == "RaggedTensor":
        raise ValueError(
            f"`{name}` is ragged. Pad the slates to one width (labels with -1) and give a mask "
            "that is 1 for real candidates and 0 for padding."
        )
