"""What the towers of a model read, for those who look into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf

from easq_keras.models import EASQ, EMER
from easq_keras.models.emer import read, slate_mask


@dataclass(frozen=True)
class TowerInputs:
    """A batch on its way to the scores.

    Attributes:
        mask: `[batch, W]`, true for real candidates.
        h: `[batch, W, d]`, the backbone's output: behaviour alone has trained it where the model
            has a behaviour head.
        towers: By the name that the router has in the training curves, the tower and what it
            reads, `[batch, W, d]`.
    """

    mask: tf.Tensor
    h: tf.Tensor
    towers: dict[str, tuple[keras.layers.Layer, tf.Tensor]]


def tower_inputs(model: EMER, features: Mapping[str, tf.Tensor]) -> TowerInputs:
    """Runs a batch up to its towers."""
    x = model.embedding.parts(features)
    mask = slate_mask(features, x.own)
    h = read(model.backbone, x, mask)
    if not isinstance(model, EASQ):
        return TowerInputs(mask, h, {"router": (model.tower, h)})
    # Eqs. 8 and 12: both towers read h and the delta.
    fused = h + model.delta(features, x, mask)
    towers = {
        "router": (model.tower, fused),
        "satisfaction_router": (model.satisfaction_tower, fused),
    }
    return TowerInputs(mask, h, towers)
