"""The width in which sums are taken."""

from keras import backend, ops

from easq_keras.types import Tensor


def accumulated(x: Tensor) -> Tensor:
    """Returns `x` as float32, or as float64 if it is that: half precision is too narrow to sum in.

    Args:
        x: A tensor of any numeric or boolean type.
    """
    x = ops.convert_to_tensor(x)
    return x if backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")
