"""Many small embedding lookups as a few large ones, for serving."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from easq_keras.layers.feature_embedding import FeatureEmbedding
from easq_keras.layers.feature_spec import FeatureSpec
from easq_keras.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class PackedEmbedding(FeatureEmbedding):
    """Computes what `FeatureEmbedding` does with one table a width instead of one a feature.

    A slate that is scored alone costs the number of operations rather than the work in them: a
    dozen features are a dozen checks and lookups, of which three are enough. In training, where a
    table has its own regularizer and gradient, `FeatureEmbedding` stays.

    Args:
        features: As for `FeatureEmbedding`.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Call arguments:
        inputs: As for `FeatureEmbedding`.

    Output shape:
        `(batch, slate, k)`, equal to `FeatureEmbedding`'s.
    """

    def __init__(self, features: Iterable[FeatureSpec | Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(features, **kwargs)
        self.widths = sorted({spec.dim for spec in self.features if spec.embedded})
        # The first row of each feature's table in the table of its width.
        self.first_rows: dict[str, int] = {}
        self.heights: list[int] = []
        for width in self.widths:
            height = 0
            for spec in self._of_width(width):
                self.first_rows[spec.name] = height
                height += spec.num_buckets or 0
            self.heights.append(height)

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        """Checks the features' shapes and creates the tables."""
        self._check_shapes(input_shape)
        self.packed = [
            self.add_weight(
                name=f"table_{width}",
                shape=(height, width),
                initializer=self.embeddings_initializer,
            )
            for width, height in zip(self.widths, self.heights, strict=True)
        ]

    def packed_weights(self, embedding: FeatureEmbedding) -> list[Any]:
        """The weights of a built `FeatureEmbedding` of the same features, as this layer's."""
        return [
            np.concatenate(
                [
                    ops.convert_to_numpy(embedding.tables[spec.name].embeddings)
                    for spec in self._of_width(width)
                ]
            )
            for width in self.widths
        ]

    def _of_width(self, width: int, level: str | None = None) -> list[FeatureSpec]:
        return [
            spec
            for spec in self.features
            if spec.embedded and spec.dim == width and level in (None, spec.level)
        ]

    def _vectors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        encoded = {**self._lookups("user", inputs), **self._lookups("candidate", inputs)}
        for spec in self.features:
            if not spec.embedded:
                encoded[spec.name] = self._encode(spec, inputs[spec.name])
        return encoded

    def _lookups(self, level: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The vectors of all embedded features of a level, by name."""
        groups = [self._of_width(width, level) for width in self.widths]
        specs = [spec for group in groups for spec in group]
        if not specs:
            return {}
        index = ops.stack([self._integers(spec, inputs[spec.name]) for spec in specs], axis=-1)
        sizes = [spec.num_buckets for spec in specs]
        first_rows = [self.first_rows[spec.name] for spec in specs]
        inside = ops.logical_and(index >= 0, index < ops.cast(sizes, index.dtype))
        index = ops.where(inside, index, ops.zeros_like(index)) + ops.cast(first_rows, index.dtype)
        ends = np.cumsum([len(group) for group in groups])[:-1].tolist()
        vectors: dict[str, Tensor] = {}
        parts = ops.split(index, ends, axis=-1) if ends else [index]
        for table, group, part in zip(self.packed, groups, parts, strict=True):
            if group:
                found = ops.unstack(ops.take(table, part, axis=0), axis=-2)
                vectors.update(zip([spec.name for spec in group], found, strict=True))
        return vectors
