"""How one input feature enters the model."""

from typing import Any

import keras

from easq_keras.arguments import one_of, positive_int

# Embedding widths by kind of feature: the 64, 32 and 8 of the EASQ paper, section 5.1.4, which
# does not say which kind has which.
DEFAULT_DIMS = {"id": 64, "categorical": 32, "bucket": 8}
KINDS = (*DEFAULT_DIMS, "numeric")
LEVELS = ("user", "candidate")


@keras.saving.register_keras_serializable(package="easq_keras")
class FeatureSpec:
    """Describes one feature: its name, how it is encoded and whom it belongs to.

    Args:
        name: Key of the feature in the batch. `"mask"` is reserved.
        kind: `"id"`, `"categorical"` or `"bucket"` for an integer index that is embedded (they
            differ in the default of `dim`), `"numeric"` for a float that is used as it is.
        num_buckets: Number of rows of the embedding table; an index lies in
            `[0, num_buckets)`. Required for the embedded kinds, refused for `"numeric"`.
        dim: Width of the embedding. Defaults to 64 for `"id"`, 32 for `"categorical"` and 8 for
            `"bucket"` (EASQ paper, section 5.1.4). A `"numeric"` feature is 1 wide.
        level: `"user"` for a value the whole slate shares, of shape `(batch,)` (user and context
            features); `"candidate"` for one a candidate, of shape `(batch, slate)`.

    Raises:
        ValueError: An argument is missing, superfluous or out of range.

    Examples:
        >>> FeatureSpec("item_id", "id", num_buckets=1000).dim
        64
        >>> FeatureSpec("age_z", "numeric", level="user").dim
        1
    """

    def __init__(
        self,
        name: str,
        kind: str,
        num_buckets: int | None = None,
        dim: int | None = None,
        level: str = "candidate",
    ) -> None:
        if not isinstance(name, str) or not name or name == "mask":
            raise ValueError(
                "`name` must be a non-empty string other than 'mask', which is the key of the "
                f"slate mask. Received: name={name!r}."
            )
        self.name = name
        self.kind = one_of("kind", kind, KINDS)
        self.level = one_of("level", level, LEVELS)
        self.num_buckets: int | None = None
        if kind == "numeric":
            if num_buckets is not None or dim not in (None, 1):
                raise ValueError(
                    "A numeric feature has no embedding: leave out `num_buckets` and `dim`. "
                    f"Received for {name!r}: num_buckets={num_buckets!r}, dim={dim!r}."
                )
            self.dim = 1
        else:
            self.num_buckets = positive_int(f"num_buckets of {name!r}", num_buckets)
            self.dim = positive_int(f"dim of {name!r}", DEFAULT_DIMS[kind] if dim is None else dim)

    @property
    def embedded(self) -> bool:
        """Whether the feature is an index into an embedding table."""
        return self.num_buckets is not None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "name": self.name,
            "kind": self.kind,
            "num_buckets": self.num_buckets,
            "dim": self.dim,
            "level": self.level,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FeatureSpec":
        """Builds the spec from what `get_config` returned."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSpec) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(tuple(self.get_config().values()))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"FeatureSpec({arguments})"
