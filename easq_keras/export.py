"""From a trained model to the graph that ranks in production."""

from collections.abc import Mapping
from typing import Any, Self

import keras
from keras import ops

from easq_keras.layers import FeatureEmbedding, LoRALayer
from easq_keras.layers.packed_embedding import PackedEmbedding
from easq_keras.models.emer import EMER, read, score_of, slate_mask
from easq_keras.types import Tensor

PARTS = ("embedding", "backbone", "delta", "delta_embedding", "tower", "base_tower")


@keras.saving.register_keras_serializable(package="easq_keras")
class ScoringModel(keras.Model):
    """What is left of a model when only ŷ is wanted; made by `scoring_model`.

    Args:
        embedding: Features to x.
        backbone: x to h.
        delta: x, and what `delta_embedding` makes of the features, to what is added to h; or None.
        delta_embedding: Features to what `delta` reads beside x, or None.
        tower: h, with what `delta` adds, to ŷ.
        base_tower: h alone to what is added to that, or None.
        tower_weight: What the score of `tower` is multiplied with.
        **kwargs: `name`, `dtype` of `keras.Model`.

    Call arguments:
        features: As for `easq_keras.models.EMER`; any slate width.

    Output shape:
        `(batch, slate)`, float32; 0 for padding.
    """

    def __init__(
        self,
        embedding: FeatureEmbedding,
        backbone: keras.layers.Layer,
        delta: keras.layers.Layer | None,
        delta_embedding: FeatureEmbedding | None,
        tower: keras.layers.Layer,
        base_tower: keras.layers.Layer | None = None,
        tower_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding
        self.backbone = backbone
        self.delta = delta
        self.delta_embedding = delta_embedding
        self.tower = tower
        self.base_tower = base_tower
        self.tower_weight = float(tower_weight)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables."""
        if self.built:
            return
        # Parts that come from a file have been built already.
        embeddings = [part for part in (self.embedding, self.delta_embedding) if part is not None]
        for embedding in embeddings:
            if not embedding.built:
                embedding.build(embedding.symbolic_shapes())
        x = keras.KerasTensor((None, None, self.embedding.output_dim), dtype=self.compute_dtype)
        h = self.backbone(x)
        of_delta = (None, None, sum(embedding.output_dim for embedding in embeddings))
        of_h = tuple(h.shape)
        for layer, seen in (
            (self.delta, of_delta),
            (self.tower, of_h),
            (self.base_tower, of_h),
        ):
            if layer is not None and not layer.built:
                layer.build(seen)

    def call(self, features: Mapping[str, Tensor]) -> Tensor:
        """Returns ŷ."""
        x = self.embedding.parts(features)
        mask = slate_mask(features, x.own)
        h = fused = read(self.backbone, x, mask)
        if self.delta is not None:
            if self.delta_embedding is not None:
                x = x.beside(self.delta_embedding.parts(features))
            fused = h + read(self.delta, x, mask)
        score = score_of(self.tower, fused, mask)
        if self.base_tower is None:
            return score
        return score_of(self.base_tower, h, mask) + self.tower_weight * score

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
            "tower_weight": self.tower_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Builds the model from what `get_config` returned."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in PARTS
        }
        return cls(**{**config, **parts})


def scoring_model(model: EMER) -> ScoringModel:
    """Returns the graph that computes ŷ and nothing else.

    What ŷ does not need stays behind: the satisfaction tower (of all but `Blend`), the behaviour
    head, the optimizers. The embedding tables of equal width become one
    (`easq_keras.layers.packed_embedding`). The LoRA delta is part of ŷ (Eq. 8) and is folded as far
    as algebra allows:

    - where the backbone is linear, h = W₀x (`keras.layers.Dense` without an activation), and
      nothing reads h without the delta, into its kernel: W₀ + ΔW, and nothing is left of it;
    - beside any other backbone h + ΔWx cannot become one product. ΔW = BA is multiplied out to
      one kernel if that is the cheaper product (rank · (k + d) ≥ k · d), and else the two factors
      stay, `lora_alpha / rank` multiplied into the second. So it is beside a linear
      backbone too where the delta has embeddings of its own, which no kernel of the backbone reads.

    Args:
        model: A trained `EMER` or `EASQ`. It is left as it is: the result has its own copy of the
            weights.

    Returns:
        A model `features → ŷ (batch, slate)`, equal to `model(features)["score"]` up to rounding.

    Raises:
        ValueError: `model` is none of the two.

    Examples:
        >>> from easq_keras.layers import FeatureSpec
        >>> from easq_keras.models import EASQ
        >>> model = EASQ([FeatureSpec("item", "categorical", num_buckets=50)])
        >>> scorer = scoring_model(model)
        >>> tuple(scorer({"item": np.array([[3, 1, 4]])}).shape)
        (1, 3)
        >>> any("satisfaction" in variable.path for variable in scorer.variables)
        False
    """
    if not isinstance(model, EMER):
        raise ValueError(f"`model` must be an EMER or EASQ. Received: {type(model).__name__}.")
    lora = getattr(model, "lora", None)
    own = getattr(model, "lora_embedding", None)
    towers = model.served_towers
    kept_apart = own is not None or towers.base is not None
    merged = None if kept_apart else _merged_kernel(model.backbone, lora)
    delta, delta_weights = (None, []) if lora is None or merged is not None else _folded(lora)
    embedding, tables = _packed(model.embedding)
    delta_embedding, delta_tables = (None, []) if own is None else _packed(own)
    base_tower, base_weights = (
        (None, [])
        if towers.base is None
        else (_unbuilt_copy(towers.base), towers.base.get_weights())
    )
    scorer = ScoringModel(
        embedding,
        _unbuilt_copy(model.backbone),
        delta,
        delta_embedding,
        _unbuilt_copy(towers.fused),
        base_tower,
        towers.weight,
        name=f"{model.name}_scorer",
        dtype=model.dtype_policy,
    )
    embedding.set_weights(tables)
    if delta_embedding is not None:
        delta_embedding.set_weights(delta_tables)
    scorer.backbone.set_weights(model.backbone.get_weights())
    scorer.tower.set_weights(towers.fused.get_weights())
    if base_tower is not None:
        base_tower.set_weights(base_weights)
    if merged is not None:
        scorer.backbone.kernel.assign(merged)
    if delta is not None:
        delta.set_weights(delta_weights)
    return scorer


def _merged_kernel(backbone: keras.layers.Layer, lora: keras.layers.Layer | None) -> Tensor | None:
    """Returns W₀ + ΔW where the backbone is a plain projection, else None."""
    projection = (
        type(backbone) is keras.layers.Dense and backbone.activation is keras.activations.linear
    )
    if not projection or type(lora) is not LoRALayer:
        return None
    return backbone.kernel + ops.cast(lora.get_delta_weight(), backbone.kernel.dtype)


def _packed(embedding: FeatureEmbedding) -> tuple[FeatureEmbedding, list[Any]]:
    """Returns an unbuilt layer that computes x in fewer operations, and its weights."""
    if type(embedding) is not FeatureEmbedding:  # a subclass may compute something else
        return _unbuilt_copy(embedding), embedding.get_weights()
    packed = PackedEmbedding(embedding.features, name=embedding.name, dtype=embedding.dtype_policy)
    return packed, packed.packed_weights(embedding)


def _folded(lora: keras.layers.Layer) -> tuple[keras.layers.Layer, list[Any]]:
    """Returns an unbuilt layer that computes the delta, and its weights."""
    if type(lora) is not LoRALayer:  # a subclass may compute something else
        return _unbuilt_copy(lora), lora.get_weights()
    (width, rank), units = lora.lora_kernel_a.shape, lora.units
    if rank * (width + units) >= width * units:
        dense = keras.layers.Dense(units, use_bias=False, name=lora.name, dtype=lora.dtype_policy)
        return dense, [lora.get_delta_weight()]
    factors = LoRALayer(units, rank=rank, name=lora.name, dtype=lora.dtype_policy)
    return factors, [lora.lora_kernel_a.value, lora.lora_kernel_b.value * lora.scale]


def _unbuilt_copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    # Not by deserialisation: that also builds what was built.
    return type(layer).from_config(layer.get_config())
