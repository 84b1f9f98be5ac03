"""From a dictionary of features to one vector a candidate."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import initializers, ops, regularizers

from easq_keras.layers.feature_spec import FeatureSpec
from easq_keras.layers.initial_values import numbered
from easq_keras.layers.slate_input import SlateInput
from easq_keras.shapes import agree, refuse_ragged
from easq_keras.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class FeatureEmbedding(keras.layers.Layer):
    """Encodes each feature by its kind and joins them to one vector a candidate.

    The vector is `x` of the EASQ paper's Eq. 6: embedded indices and plain numbers, those of the
    user repeated for each candidate, concatenated: first those of the user, then those of the
    candidate, each in the order of `features`. `parts` returns them without the repetition.

    An index outside `[0, num_buckets)` reads row 0, the row of padding and missing values: an id
    hashed into a larger space, or a vocabulary that has grown, must not stop a server. Candidates
    that the mask leaves out come out as zeros whatever their features hold, NaN included, so that
    nothing of the padding reaches a gradient.

    Args:
        features: The `FeatureSpec`s, at least one of them at candidate level.
        embeddings_initializer: Initializer of the tables. Defaults to `"uniform"` (±0.05), as in
            `keras.layers.Embedding`.
        embeddings_regularizer: Regularizer of the tables.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: Dictionary with one tensor for each feature, `(batch,)` for user level and
            `(batch, slate)` for candidate level, and under `"mask"`, if there is padding,
            `(batch, slate)` with 1 for a real candidate. Other keys are ignored.

    Output shape:
        `(batch, slate, k)`, `k` being the sum of the features' `dim`. The mask travels on as the
        Keras mask of the output.

    Raises:
        ValueError: No candidate-level feature, a name given twice, or, when called, a feature
            that is absent, ragged, of the wrong shape, or no integer where it should be one.

    Examples:
        >>> layer = FeatureEmbedding([
        ...     FeatureSpec("user_id", "id", num_buckets=10, dim=4, level="user"),
        ...     FeatureSpec("item_id", "id", num_buckets=20, dim=3),
        ...     FeatureSpec("ctr", "numeric"),
        ... ])
        >>> x = layer({
        ...     "user_id": np.array([1, 2]),
        ...     "item_id": np.array([[5, 6, 0], [7, 0, 0]]),
        ...     "ctr": np.array([[0.1, 0.2, 0.0], [0.3, 0.0, 0.0]]),
        ...     "mask": np.array([[1, 1, 0], [1, 0, 0]]),
        ... })
        >>> tuple(x.shape)
        (2, 3, 8)
    """

    def __init__(
        self,
        features: Iterable[FeatureSpec | Mapping[str, Any]],
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features = tuple(
            spec if isinstance(spec, FeatureSpec) else FeatureSpec(**spec) for spec in features
        )
        names = [spec.name for spec in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"`features` names each feature once. Received twice: {twice}.")
        if not any(spec.level == "candidate" for spec in self.features):
            raise ValueError(
                "`features` needs at least one feature at candidate level, or all candidates of a "
                f"slate would be the same. Received: features={list(self.features)}."
            )
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.supports_masking = True
        self.output_dim = sum(spec.dim for spec in self.features)
        self.tables: dict[str, keras.layers.Embedding] = {}

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        """Checks the features' shapes and creates the tables."""
        self._check_shapes(input_shape)
        for number, spec in enumerate(self.features):
            if spec.embedded:
                table = keras.layers.Embedding(
                    spec.num_buckets,
                    spec.dim,
                    embeddings_initializer=numbered(self.embeddings_initializer, number),
                    embeddings_regularizer=self.embeddings_regularizer,
                    dtype=self.dtype_policy,
                    name=spec.name,
                )
                table.build()
                self.tables[spec.name] = table

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns `(batch, slate, k)`."""
        own, shared = self.parts(inputs)
        mask = self.compute_mask(inputs)
        if mask is None:
            mask = ops.ones(ops.shape(own)[:2], dtype="bool")
        return SlateInput(own, shared).whole(mask)

    def parts(self, inputs: Mapping[str, Tensor]) -> SlateInput:
        """Returns the same in two parts, the user's columns once a slate.

        Args:
            inputs: As for `call`; the layer must have been built.
        """
        self._check_inputs(inputs)
        vectors = self._vectors(inputs)
        columns: dict[str, list[Tensor]] = {"user": [], "candidate": []}
        for spec in self.features:
            columns[spec.level].append(vectors[spec.name])
        own = ops.concatenate(columns["candidate"], axis=-1)
        shared = ops.concatenate(columns["user"], axis=-1) if columns["user"] else None
        mask = self.compute_mask(inputs)
        if mask is not None:
            own = ops.where(mask[:, :, None], own, ops.zeros_like(own))
            if shared is not None:
                some = ops.any(mask, axis=1, keepdims=True)
                shared = ops.where(some, shared, ops.zeros_like(shared))
        return SlateInput(own, shared)

    def _vectors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns each feature encoded, by its name."""
        return {spec.name: self._encode(spec, inputs[spec.name]) for spec in self.features}

    def _check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        for name, value in inputs.items():
            refuse_ragged(name, value)
        self._check_shapes({name: value.shape for name, value in inputs.items()})

    def _encode(self, spec: FeatureSpec, value: Tensor) -> Tensor:
        if not spec.embedded:
            return ops.cast(value, self.compute_dtype)[..., None]
        index = self._integers(spec, value)
        inside = ops.logical_and(index >= 0, index < spec.num_buckets)
        return self.tables[spec.name](ops.where(inside, index, ops.zeros_like(index)))

    def _integers(self, spec: FeatureSpec, value: Tensor) -> Tensor:
        if not keras.backend.is_int_dtype(value.dtype):
            raise ValueError(
                f"Feature {spec.name!r} is of kind {spec.kind!r} and must hold integers. "
                f"Received: dtype {keras.backend.standardize_dtype(value.dtype)}."
            )
        return value

    def _check_shapes(self, shapes: Mapping[str, Shape]) -> None:
        for spec in self.features:
            if spec.name not in shapes:
                raise ValueError(
                    f"Feature {spec.name!r} is absent from the batch, which has {sorted(shapes)}."
                )
            rank = 1 if spec.level == "user" else 2
            if len(shapes[spec.name]) != rank:
                wanted = "(batch,)" if spec.level == "user" else "(batch, slate)"
                raise ValueError(
                    f"Feature {spec.name!r} is at {spec.level} level and must have shape {wanted}. "
                    f"Received: shape {tuple(shapes[spec.name])}."
                )
        first = self._first_candidate_feature()
        others = [spec.name for spec in self.features if spec.level == "candidate"]
        for name in [*others, *(["mask"] if "mask" in shapes else [])]:
            if not agree(shapes[name], shapes[first]):
                raise ValueError(
                    f"{name!r} and {first!r} must have one shape (batch, slate). "
                    f"Received: {tuple(shapes[name])} and {tuple(shapes[first])}."
                )

    def _first_candidate_feature(self) -> str:
        return next(spec.name for spec in self.features if spec.level == "candidate")

    def compute_mask(self, inputs: Mapping[str, Tensor], previous_mask: Any = None) -> Tensor:
        """Returns the slate mask of the batch as booleans, or None."""
        mask = inputs.get("mask")
        return None if mask is None else ops.cast(mask, "bool")

    def compute_output_shape(self, input_shape: Mapping[str, Shape]) -> Shape:
        """Returns `(batch, slate, k)`."""
        self._check_shapes(input_shape)
        return (*input_shape[self._first_candidate_feature()], self.output_dim)

    def symbolic_shapes(self) -> dict[str, Shape]:
        """Returns the shapes of the inputs, batch and slate unknown; for `build`."""
        return {
            spec.name: (None,) if spec.level == "user" else (None, None) for spec in self.features
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "features": [spec.get_config() for spec in self.features],
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
        }
