"""Settings of a method that follow from what the answers of a dataset are.

With `questionnaire.unanswered: middle` answers are a behaviour that is open to everybody, such as
likes, and silence tells something.
"""

from __future__ import annotations

from typing import Any

from easq_keras.models import method_info
from pipeline.logs.dataset_config import DatasetConfig


def dataset_settings(method: str, config: DatasetConfig) -> dict[str, Any]:
    """Settings in place of a method's own; `trainer.model` holds against them.

    A label of ½ for silence is a place in an order and no probability: by its cross entropy
    everything that was merely not liked would be pulled to one logit, and ŝ would learn who likes
    much rather than what is liked in a slate. So ŝ learns the order within slates instead.

    Args:
        method: One of `easq_keras.models.METHODS`.
        config: The dataset.
    """
    info = method_info(method)
    learns = getattr(info.model.settings_class(**info.settings), "satisfaction_loss", None)
    if _silence_tells(config) and learns == "bce":
        return {"satisfaction_loss": "level"}
    return {}


def dataset_replays(method: str, config: DatasetConfig) -> bool:
    """Whether a method replays earlier answers; `trainer.replay` holds against it.

    Replay is for answers of which there are too few. Likes there are enough, and those that are
    learnt again and again are learnt by heart.

    Args:
        method: One of `easq_keras.models.METHODS`.
        config: The dataset.
    """
    return method_info(method).replays and not _silence_tells(config)


def _silence_tells(config: DatasetConfig) -> bool:
    return config.questionnaire.unanswered == "middle"
