"""What goes wrong in a training, by what `fit` reports of it, and the setting that mends it."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import keras

from easq_keras.arguments import positive_int
from easq_keras.models.easq import COLLAPSED_STD

LOGGER = logging.getLogger(__name__)

# Above these a value is no longer that of a training that goes well.
_COLLAPSED_STEPS = 0.5
_UNROUTED_CANDIDATES = 0.5
_SCORE_SPREAD = 20.0
# The pair loss of a ranker by chance, and a margin for the noise of the first steps.
_CHANCE = math.log(2)
_WORSE_THAN_CHANCE = 1.05 * _CHANCE


class TrainingDivergedError(ArithmeticError):
    """A loss is no number any more; what was learnt so far is lost with it."""


@keras.saving.register_keras_serializable(package="easq_keras")
class TrainingAlarms(keras.callbacks.Callback):
    """Stops a training that has diverged, and tells what else goes wrong in one.

    A problem is told, once, when it has lasted for `patience` looks: ŝ collapsed, candidates that
    no expert is open for, scores that run away, or a weight of satisfaction so large that ŷ orders
    behaviour worse than chance does. Works with `EMER` and every model derived from it; what a
    model does not report is not looked at.

    Args:
        every: Steps from one look to the next. `fit` reports means since the epoch began.
        patience: Looks in a row.

    Attributes:
        messages: The problems that have lasted and still do, by kind.

    Raises:
        ValueError: `every` or `patience` is no positive integer.
        TrainingDivergedError: From within `fit`: something reported is not finite.

    Examples:
        >>> alarms = TrainingAlarms(patience=1)
        >>> alarms.look(7, {"loss/main": 0.6, "satisfaction/collapsed": 0.9})
        >>> alarms.messages["collapsed"][:16]
        'ŝ has collapsed:'
    """

    def __init__(self, every: int = 100, patience: int = 3) -> None:
        super().__init__()
        self.every, self.patience = positive_int("every", every), positive_int("patience", patience)
        self.messages: dict[str, str] = {}
        self._next = 0
        self._lasted: dict[str, int] = {}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"every": self.every, "patience": self.patience}

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at what is reported, if it is time.

        Args:
            batch: Number of the step within the epoch.
            logs: What `fit` reports.
        """
        if batch + 1 >= self._next and logs:
            self._next = batch + 1 + self.every
            self.look(batch + 1, logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begins to count anew."""
        self._next = 0

    def look(self, step: int, values: Mapping[str, Any]) -> None:
        """Looks once; for training loops of one's own.

        Args:
            step: Number of the step, for the messages.
            values: Scalars by the names under which `fit` reports them.

        Raises:
            TrainingDivergedError: One is not finite.
        """
        known = {name: float(value) for name, value in values.items()}
        settings = getattr(self.model, "settings", None)
        broken = [f"{name} is {value}" for name, value in known.items() if not math.isfinite(value)]
        if broken:
            raise TrainingDivergedError(
                f"training has diverged: at step {step} {', '.join(broken[:3])}. Lower "
                f"{_setting(settings, 'learning_rate')}{_weight(settings, ' or ')}, and see "
                "whether a numeric feature has values far beyond the rest."
            )
        found = _problems(known, settings)
        self._lasted = {kind: self._lasted.get(kind, 0) + 1 for kind in found}
        lasting = {k: text for k, text in found.items() if self._lasted[k] >= self.patience}
        for kind in lasting.keys() - self.messages.keys():
            LOGGER.warning("step %d: %s", step, lasting[kind])
        self.messages = lasting


def _problems(values: Mapping[str, float], settings: Any) -> dict[str, str]:
    found = {}
    collapsed = values.get("satisfaction/collapsed", 0.0)
    if collapsed > _COLLAPSED_STEPS:
        found["collapsed"] = (
            f"ŝ has collapsed: in {collapsed:.0%} of the steps it spread by less than "
            f"{COLLAPSED_STD:g} within a slate, and had nothing to tell ŷ. Lower "
            f"{_setting(settings, 'satisfaction_decay')}, or replay answers."
        )
    for router, score in (("router", "ŷ"), ("satisfaction_router", "ŝ")):
        unrouted = values.get(f"{router}/all_dead_candidates", 0.0)
        if unrouted > _UNROUTED_CANDIDATES:
            found[router] = (
                f"no expert of {score} is open for {unrouted:.0%} of the candidates, which "
                f"nothing tells apart. Raise {_setting(settings, 'gate_bias')}."
            )
    spread = values.get("score/std", 0.0)
    if spread > _SCORE_SPREAD:
        found["scale"] = (
            f"ŷ spreads by {spread:.3g} within a slate: scores run away. Lower "
            f"{_setting(settings, 'learning_rate')}{_weight(settings, ' or ')}."
        )
    main, weight = values.get("loss/main", 0.0), _weight(settings)
    # Shaped levels are no longer those of behaviour alone.
    if main > _WORSE_THAN_CHANCE and weight and not getattr(settings, "shaping", 0):
        head = values.get("loss/behaviour")
        beside = "" if head is None else f"; the head that learns behaviour alone has {head:.3f}"
        found["price"] = (
            f"ŷ orders behaviour worse than chance: loss/main is {main:.3f}, that of chance "
            f"{_CHANCE:.3f}{beside}. Satisfaction weighs too much: lower {weight}."
        )
    return found


def _setting(settings: Any, name: str) -> str:
    value = getattr(settings, name, None)
    return name if value is None else f"{name} ({value:g})"


def _weight(settings: Any, before: str = "") -> str:
    """The setting that trades behaviour for satisfaction, if there is one."""
    name = getattr(settings, "trade_off_setting", None)
    return "" if name is None else before + _setting(settings, name)
