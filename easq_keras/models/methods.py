"""Every system of the paper and its neighbours by name: one way to build, train and weigh them."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from easq_keras.arguments import one_of
from easq_keras.layers import FeatureSpec
from easq_keras.models.blend import Blend
from easq_keras.models.easq import EASQ
from easq_keras.models.emer import EMER
from easq_keras.models.emer_s import EMERS
from easq_keras.models.imputation import ImputationNetwork
from easq_keras.models.saqrec import SAQRec
from easq_keras.models.settings import EASQSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What there is to know of a method before it is built.

    Attributes:
        name: Its name in `METHODS`.
        about: One line.
        model: Class of the model.
        settings: How its settings differ from the defaults of the class.
        reads_answers: Whether answers have any effect on it.
        replays: Whether free answered rows of a batch are filled with earlier answers unless one
            says otherwise.
        pretrained: Whether `model.pretrain` has to be called before `fit`.
        grid: Values of the trade-off setting, rising, from hardly any loss of behaviour to a large
            one, as many for every method; empty where there is none.

    Examples:
        >>> method_info("EASQ").trade_off
        'lambda_dpo'
    """

    name: str
    about: str
    model: type[EMER]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reads_answers: bool = True
    replays: bool = True
    pretrained: bool = False
    grid: tuple[float, ...] = ()

    @property
    def trade_off(self) -> str | None:
        """Name of the setting that `model.trade_off` holds, or None where there is none."""
        return self.model.settings_class(**self.settings).trade_off_setting


_EASQ_GRID = (0.15, 0.3, 0.42, 0.6, 0.85, 1.2, 1.7, 2.4, 4.8)
# What the preset "paper" has in place of the defaults.
_PAPER = {
    name: value
    for name, value in EASQSettings.preset("paper").to_dict().items()
    if value != EASQSettings().to_dict()[name]
}
_INFOS = (
    MethodInfo(
        name="EMER",
        about="Ranks by behaviour alone.",
        model=EMER,
        reads_answers=False,
        replays=False,
    ),
    MethodInfo(
        name="EMER_s-pair",
        about="EMER with Satisfied over Dissatisfied of a user as further pairs.",
        model=EMERS,
        settings={"answer_pairs": "pair"},
        replays=False,
        grid=(1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 30.0, 40.0, 80.0),
    ),
    MethodInfo(
        name="EMER_s-level",
        about="EMER with answers above or below the rest of their slate as further pairs.",
        model=EMERS,
        settings={"answer_pairs": "level"},
        replays=False,
        grid=(0.3, 0.55, 1.0, 2.0, 3.0, 4.5, 6.0, 9.0, 12.0),
    ),
    MethodInfo(
        name="Imputation",
        about="A satisfaction head on the shared representation shapes the behaviour levels.",
        model=ImputationNetwork,
        grid=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.2),
    ),
    MethodInfo(
        name="SAQRec",
        about="Satisfaction imputed offline is a feature and the target of a second tower.",
        model=SAQRec,
        pretrained=True,
        replays=False,
        grid=(0.3, 0.55, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0),
    ),
    MethodInfo(
        name="SAQRec-listwise",
        about="The same, with imputed satisfaction as the listwise target of ŷ itself.",
        model=SAQRec,
        settings={"target": "listwise"},
        pretrained=True,
        replays=False,
        grid=(0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8),
    ),
    MethodInfo(
        name="Blend",
        about="EMER's ŷ and EASQ's ŝ, learnt apart and added when a slate is ranked.",
        model=Blend,
        grid=(0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8),
    ),
    MethodInfo(
        name="EASQ",
        about="The recommended preset.",
        model=EASQ,
        grid=_EASQ_GRID,
    ),
    MethodInfo(
        name="EASQ-paper",
        about="The preset with the paper's losses.",
        model=EASQ,
        settings=_PAPER,
        replays=False,
        grid=(3.0, 10.0, 17.0, 30.0, 55.0, 100.0, 170.0, 300.0, 1000.0),
    ),
    MethodInfo(
        name="EASQ-w/o-LoRA",
        about="The ablation: satisfaction is learnt by its tower alone.",
        model=EASQ,
        settings={"use_lora": False},
        grid=_EASQ_GRID,
    ),
    MethodInfo(
        name="EASQ-w/o-MoE",
        about="The ablation: no mixture of experts. The preset has none: it is `EASQ` itself.",
        model=EASQ,
        settings={"use_moe": False},
        grid=_EASQ_GRID,
    ),
    MethodInfo(
        name="EASQ-w/o-DPO",
        about="The ablation: nothing is transferred, and ŷ ranks by behaviour.",
        model=EASQ,
        settings={"use_dpo": False},
    ),
    MethodInfo(
        name="EASQ-TopK",
        about="Experts behind a Top-K softmax router, to be compared with ReLU's.",
        model=EASQ,
        settings={"use_moe": True, "router": "top_k"},
        grid=_EASQ_GRID,
    ),
)
_BY_NAME = {info.name: info for info in _INFOS}

METHODS: tuple[str, ...] = tuple(_BY_NAME)
"""Names of all methods, for `build_method`."""


def method_info(name: str) -> MethodInfo:
    """Returns what there is to know of a method.

    Args:
        name: One of `METHODS`.

    Raises:
        ValueError: There is no such method; the message lists them.

    Examples:
        >>> method_info("EMER").reads_answers
        False
    """
    return _BY_NAME[one_of("name", name, METHODS)]


def build_method(
    name: str,
    features: Iterable[FeatureSpec | Mapping[str, Any]],
    *,
    backbone: keras.layers.Layer | None = None,
    **overrides: Any,
) -> EMER:
    """Builds the model of a method.

    All methods take the same batches, `compile(answered_rows=…)`, `fit` and
    `easq_keras.export.scoring_model`, and return `{"score": …}`.

    Args:
        name: One of `METHODS`.
        features: The `FeatureSpec`s of the batch.
        backbone: As for `EMER`.
        **overrides: Settings that differ from the method's (see `settings_class` of its model), and
            `dtype` of `keras.Model`.

    Raises:
        ValueError: There is no such method or setting, or a setting is out of range.

    Examples:
        >>> features = [FeatureSpec("item", "id", num_buckets=9)]
        >>> model = build_method("Imputation", features, shaping=0.3)
        >>> round(float(model.trade_off), 3)
        0.3
    """
    info = method_info(name)
    dtype = overrides.pop("dtype", None)
    settings = info.model.settings_class(**info.settings).replace(**overrides)
    return info.model(features, backbone=backbone, settings=settings, dtype=dtype)
