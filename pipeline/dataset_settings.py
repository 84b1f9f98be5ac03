"""Settings of a method that follow from what the answers of a dataset are.

With `questionnaire.unanswered: middle` answers are a behaviour that is open to everybody, such as
likes, and silence tells something.
"""

from __future__ import annotations

from typing import Any

from easq_keras.models import method_info
from pipeline.logs.dataset_config import DatasetConfig

# The one width that was tried to the end (`experiments/README.md`).
LORA_EMBEDDING_DIM = 8


def dataset_settings(method: str, config: DatasetConfig) -> dict[str, Any]:
    """Settings in place of a method's own; `trainer.model` holds against them.

    Silence then is learnt from everything that was shown, of which there is many times more than
    there are answers: enough for an item to have numbers of its own in the satisfaction path.

    Args:
        method: One of `easq_keras.models.METHODS`.
        config: The dataset.
    """
    info = method_info(method)
    learns = getattr(info.model.settings_class(**info.settings), "satisfaction_loss", None)
    if _silence_tells(config) and learns == "bce":
        return {"satisfaction_loss": "silence", "lora_embedding_dim": LORA_EMBEDDING_DIM}
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
