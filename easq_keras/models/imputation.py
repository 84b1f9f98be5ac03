"""The Imputation Network: a satisfaction head on the ranker itself, and levels shaped by it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from easq_keras.models.easq import EASQ
from easq_keras.models.settings import EASQSettings, EMERSettings
from easq_keras.models.training import Objective
from easq_keras.types import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImputationSettings(EASQSettings):
    """Settings of `ImputationNetwork`; what it has in common with EASQ has EASQ's name.

    `lambda_satisfaction` is λ_I, `shaping` is η.

    Attributes:
        use_moe: As for `EASQSettings`, but True: its shared head learns more with experts.
        joint: The head's answers train embedding and backbone as well, as in the original. False:
            it reads the detached representation, which leaves EASQ without LoRA and without DPO,
            its levels shaped.

    Raises:
        ValueError: As for `EASQSettings`, or `use_dpo` is set.

    Examples:
        >>> ImputationSettings().trade_off_setting
        'shaping'
    """

    joint: bool = True
    use_moe: bool = True
    use_lora: bool = False
    use_dpo: bool = False
    shaping: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_dpo:
            raise ValueError("An Imputation Network has no DPO: leave `use_dpo` False.")


@keras.saving.register_keras_serializable(package="easq_keras")
class ImputationNetwork(EASQ):
    """Imputes satisfaction by a second head on a shared representation, and ranks by the sum.

    After Christakopoulou et al. 2022 (arXiv 2209.15166): policy and imputation network are learned
    jointly, answers train the latter, and the reward of everything consumed is shaped by what it
    imputes. On EMER that reads

    `L = L_main(y + η · s̃) + λ_I · L_I`,  `s_I = g(h)`,

    with no stopped gradient between g and h, the cross entropy L_I of the answers, and levels
    shaped by the detached s̃ as EASQ's are (`easq_keras.models.objectives.shaped_preference`).

    Args:
        features: As for `EASQ`.
        backbone: As for `EASQ`.
        settings: Defaults to `ImputationSettings()`.
        **kwargs: As for `EASQ`.

    Batches, results and `compile`: as for `EASQ`; `"satisfaction"` is s_I.

    Examples:
        >>> from easq_keras.layers import FeatureSpec
        >>> model = ImputationNetwork([FeatureSpec("item", "categorical", num_buckets=50)])
        >>> [part for part, moved in model.routing_table()["satisfaction"].items() if moved]
        ['embedding', 'backbone', 'satisfaction_tower']
    """

    settings_class: ClassVar[type[EMERSettings]] = ImputationSettings
    settings: ImputationSettings

    def routes(self) -> dict[str, set[str]]:
        """Returns the parts of the model that each of its losses has a gradient for."""
        routes = super().routes()
        if self.settings.joint:
            routes["satisfaction"] |= {"embedding", "backbone"}
        return routes

    def _isolated(self, tensor: Tensor) -> Tensor:
        return tensor if self.settings.joint else super()._isolated(tensor)

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns both losses and what to report.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.
        """
        objective = super().objective(outputs, labels)
        if not self.settings.joint or objective.satisfaction is None:
            return objective
        # The optimizer of the head sees its own loss; that of all the rest sees both.
        return objective._replace(behaviour=objective.behaviour + objective.satisfaction)
