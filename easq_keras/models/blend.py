"""The blend at serving time: two scores, learned apart, added when a slate is ranked."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import keras
from keras import ops

from easq_keras.arguments import at_least
from easq_keras.models.easq import COLLAPSED_STD, EASQ
from easq_keras.models.settings import EASQSettings, EMERSettings
from easq_keras.types import Shape, Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlendSettings(EASQSettings):
    """Settings of `Blend`; what it has in common with EASQ has EASQ's name.

    Attributes:
        alpha: Weight α of the satisfaction score, in standard deviations of ŷ for one of ŝ.

    Raises:
        ValueError: As for `EASQSettings`, or `use_dpo` or `shaping` is set.

    Examples:
        >>> BlendSettings().trade_off_setting
        'alpha'
    """

    alpha: float = 0.5
    use_dpo: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("alpha", self.alpha, 0)
        if self.use_dpo or self.shaping > 0:
            raise ValueError(
                "A blend transfers nothing while it learns: leave `use_dpo` False and `shaping` 0."
            )

    @property
    def trade_off_setting(self) -> str:
        """Name of the setting that trades behaviour for satisfaction."""
        return "alpha"


@keras.saving.register_keras_serializable(package="easq_keras")
class Blend(EASQ):
    """Ranks by `ŷ + α · (std ŷ / std ŝ) · ŝ`.

    ŷ is EMER's, ŝ is EASQ's, and nothing is transferred: EASQ without DPO, blended when it serves.
    Both standard deviations are running ones within slates, so that one α means the same in every
    data set. ŝ is not centred: a constant changes no ranking of a slate, and between slates the
    level of ŝ, a logit, says which was the more satisfying one.

    α plays no part in training; changing `trade_off` changes the scores at once.
    `easq_keras.export.scoring_model` serves both towers as one graph with the factor a constant.

    Args:
        features: As for `EASQ`.
        backbone: As for `EASQ`.
        settings: Defaults to `BlendSettings()`.
        **kwargs: As for `EASQ`.

    Returns when called:
        `{"score": the blend, "satisfaction": ŝ}`.

    Examples:
        >>> from easq_keras.layers import FeatureSpec
        >>> model = Blend([FeatureSpec("item", "categorical", num_buckets=50)], alpha=0.0)
        >>> x = {"item": np.array([[1, 2, 3]])}
        >>> behaviour = model(x)["score"]
        >>> _ = model.trade_off.assign(2.0)
        >>> outputs = model(x)
        >>> np.allclose(outputs["score"], behaviour + 2 * outputs["satisfaction"])
        True
    """

    settings_class: ClassVar[type[EMERSettings]] = BlendSettings
    settings: BlendSettings

    @property
    def _needs_dense_satisfaction(self) -> bool:
        return True  # for its running standard deviation

    def satisfaction_weight(self) -> Tensor:
        """Returns what ŝ is multiplied with, a scalar."""
        of_score, of_satisfaction = ops.unstack(ops.convert_to_tensor(self.score_scale), 2)
        return self.trade_off * of_score / ops.maximum(of_satisfaction, COLLAPSED_STD)

    def call(
        self,
        features: Mapping[str, Tensor],
        training: bool | None = None,
        learning: bool = False,
    ) -> dict[str, Any]:
        """Scores a batch.

        Args:
            features: See the class.
            training: As everywhere in Keras.
            learning: Return the two scores apart, and what the objective needs.
        """
        outputs = super().call(features, training=training, learning=learning)
        if not learning:
            outputs["score"] += self.satisfaction_weight() * outputs["satisfaction"]
        return outputs

    @property
    def served_tower(self) -> keras.layers.Layer:
        """Both towers as one."""
        return SummedTowers(
            self.tower,
            self.satisfaction_tower,
            weight=float(self.satisfaction_weight()),
            name="tower",
            dtype=self.score_dtype,
        )


@keras.saving.register_keras_serializable(package="easq_keras")
class SummedTowers(keras.layers.Layer):
    """`first(h) + weight · second(h)`.

    Args:
        first: Layer `(..., d) → (..., 1)`.
        second: Another one.
        weight: A constant.
        **kwargs: `name`, `dtype`, … of `keras.layers.Layer`.

    Examples:
        >>> towers = SummedTowers(keras.layers.Dense(1), keras.layers.Dense(1), weight=0.5)
        >>> tuple(towers(np.ones((2, 3, 4), "float32")).shape)
        (2, 3, 1)
    """

    def __init__(
        self, first: keras.layers.Layer, second: keras.layers.Layer, weight: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.first, self.second, self.weight = first, second, float(weight)

    def build(self, input_shape: Shape) -> None:
        """Builds both."""
        for tower in (self.first, self.second):
            if not tower.built:
                tower.build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Returns `(..., 1)`."""
        return self.first(inputs) + self.weight * self.second(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns `(..., 1)`."""
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "first": keras.saving.serialize_keras_object(self.first),
            "second": keras.saving.serialize_keras_object(self.second),
            "weight": self.weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Builds the layer from what `get_config` returned."""
        towers = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("first", "second")
        }
        return cls(**{**config, **towers})
