"""The blend at serving time: two scores, learned apart, added when a slate is ranked."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from easq_keras.arguments import at_least
from easq_keras.models.easq import COLLAPSED_STD, EASQ
from easq_keras.models.emer import ServedTowers
from easq_keras.models.settings import EASQSettings, EMERSettings
from easq_keras.types import Tensor


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

    ŷ is EMER's, which no answer reaches, ŝ is EASQ's, and nothing is transferred.
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

    def _main_input(self, h: Tensor, delta: Tensor) -> Tensor:
        """Returns h as it is: what moves with every answer would only disturb a ŷ that no answer
        is to move, and the backbone that learns through it.
        """
        return h

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
    def served_towers(self) -> ServedTowers:
        """Both towers, and the weight as it is now."""
        weight = float(self.satisfaction_weight())
        return ServedTowers(self.satisfaction_tower, base=self.tower, weight=weight)
