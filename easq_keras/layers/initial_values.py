"""Initializers for weights that must not start alike."""

from typing import Any

from keras import initializers, ops

from easq_keras.types import Tensor


def numbered(initializer: Any, number: int) -> Any:
    """Returns an initializer of the same kind that draws numbers of its own.

    A Keras initializer draws the same numbers at every call. Experts or blocks that start equal
    would get equal gradients and stay equal for ever.

    Args:
        initializer: What the user passed. One with an integer seed is given the seed plus
            `number`; a plain function is returned as it is.
        number: Which of the weights it is for, 0, 1, ….
    """
    if not isinstance(initializer, initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += number
    return type(initializer).from_config(config)


class Stacked:
    """Initializes an array slice by slice along its first axis.

    So that each slice has the fans, and the random numbers, of a weight of its own.

    Args:
        initializer: What one slice is initialized with.
    """

    def __init__(self, initializer: Any) -> None:
        self.initializer = initializer

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Returns the array."""
        slices = [numbered(self.initializer, index) for index in range(shape[0])]
        return ops.stack([initialize(shape[1:], dtype=dtype) for initialize in slices])
