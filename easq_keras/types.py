"""Names of the types that Keras itself leaves open."""

from typing import Any, TypeAlias

# A tensor, variable or array of whichever backend Keras runs on: Keras ships no types to check.
Tensor: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]
