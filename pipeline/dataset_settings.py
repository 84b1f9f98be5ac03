"""Settings of a method that follow from what the answers of a dataset are."""

from __future__ import annotations

import dataclasses
from typing import Any

from easq_keras.models import method_info
from pipeline.logs.dataset_config import DatasetConfig


def dataset_settings(method: str, config: DatasetConfig) -> dict[str, Any]:
    """Settings in place of a method's own; `trainer.model` holds against them.

    With `questionnaire.unanswered: middle` a label of ½ is a place in an order and no probability:
    by its cross entropy everything that was merely not liked would be pulled to one logit, and ŝ
    would learn who likes much rather than what is liked in a slate. There ŝ learns pairs.

    Args:
        method: One of `easq_keras.models.METHODS`.
        config: The dataset.
    """
    of_method = {
        field.name for field in dataclasses.fields(method_info(method).model.settings_class)
    }
    if config.questionnaire.unanswered == "middle" and "satisfaction_loss" in of_method:
        return {"satisfaction_loss": "pairwise"}
    return {}
