"""x of a slate in two parts: what its candidates have in common, and what each has of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from easq_keras.types import Tensor


class SlateInput(NamedTuple):
    """x of the EASQ paper's Eq. 6 without the user's columns repeated for each candidate.

    A product `x W` costs a slate what one candidate's does for the columns that all share: in a
    slate of 24 a user's 128 of 307 columns need not be multiplied 24 times, nor stored.

    Attributes:
        own: `(batch, slate, k_o)`: the last columns of x, 0 for padding.
        shared: `(batch, k_s)`: its first columns, 0 for a slate without a candidate; or None.
    """

    own: Tensor
    shared: Tensor | None

    def whole(self, mask: Tensor) -> Tensor:
        """Returns x, `(batch, slate, k_s + k_o)`, zeros for padding.

        Args:
            mask: `(batch, slate)` booleans.
        """
        if self.shared is None:
            return self.own
        repeated = ops.where(mask[:, :, None], self.shared[:, None, :], 0)
        return ops.concatenate([ops.cast(repeated, self.own.dtype), self.own], axis=-1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "SlateInput":
        """Returns both parts changed by a function, such as `ops.stop_gradient` or a slice."""
        return SlateInput(
            function(self.own), None if self.shared is None else function(self.shared)
        )

    def beside(self, other: "SlateInput") -> "SlateInput":
        """Returns the columns of both: what is shared, then what is own, each of this one first.

        Args:
            other: Of the same slates.
        """
        shared = [part.shared for part in (self, other) if part.shared is not None]
        return SlateInput(
            ops.concatenate([self.own, other.own], axis=-1),
            ops.concatenate(shared, axis=-1) if shared else None,
        )


def project(own: Tensor, kernel: Any, shared: Tensor | None = None) -> Tensor:
    """Returns `x W`, `(..., units)`.

    Args:
        own: `(..., k)`, x; or `(batch, slate, k_o)`, its last columns.
        kernel: `(k, units)`, W.
        shared: `(batch, k_s)`, the first columns of x, the same for all of a slate, or None.

    Raises:
        ValueError: The columns are not as many as W's rows.
    """
    common = 0 if shared is None else shared.shape[-1]
    if own.shape[-1] + common != kernel.shape[0]:
        raise ValueError(
            f"The input must have {kernel.shape[0]} columns. Received: inputs of shape "
            f"{tuple(own.shape)} and {common} shared columns."
        )
    if shared is None:
        return ops.matmul(own, kernel)
    kernel = ops.convert_to_tensor(kernel)
    return ops.matmul(own, kernel[common:]) + ops.matmul(shared, kernel[:common])[:, None, :]
