"""Value and gradient of Eq. 17 against NumPy, for every variable: presets, silence learnt.

The gradients that the training step uses are compared with central differences in float64 of the
surrogate in which whatever a stopped gradient stands before is held constant.
"""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from easq_keras.models.training import gradients
from tests.easq_keras.models.numpy_easq import Batch, Reading
from tests.easq_keras.models.small import ANSWERED, SPECS, batch, easq

PRESETS = ["recommended", "paper"]
# A preset, and a setting of its own in place of one of the preset's.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((preset, {}) for preset in PRESETS),
    ("recommended", {"satisfaction_loss": "silence"}),
    ("recommended", {"satisfaction_loss": "silence", "lora_embedding_dim": 2}),
    ("paper", {"lora_embedding_dim": 2}),
]
STEP = 1e-5
DIRECTIONS = 1


class Point:
    """A small model somewhere in the middle of training, a batch, and the reading of both."""

    def __init__(
        self, preset: str, answered_rows: int | None, changes: dict[str, Any] | None = None
    ) -> None:
        rng = np.random.default_rng(1)
        self.model = easq(preset, **(changes or {}))
        for variable in self.model.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        self.model.score_scale.assign([1.7, 0.6])
        self.model.compile(answered_rows=answered_rows)
        features, labels = batch(3)
        self.batch = Batch(features, labels, ANSWERED)
        self.variables = {
            variable.path.partition("/")[2]: variable for variable in self.model.trainable_variables
        }
        self.weights = {
            name: np.asarray(variable, "float64") for name, variable in self.variables.items()
        }
        self.reading = Reading(self.model.settings, SPECS, (1.7, 0.6))

    def loss_and_gradients(self):
        with tf.GradientTape() as tape:
            outputs = self.model(self.batch.features, training=True, learning=True)
            objective = self.model.objective(outputs, self.batch.labels)
            loss = objective.behaviour + objective.satisfaction
        found = gradients(tape, loss, list(self.variables.values()))
        return float(loss), dict(zip(self.variables, found, strict=True))

    def expected_loss(self) -> float:
        return self.reading.objective(self.weights, self.weights, self.batch)

    def expected_slope(self, name: str, direction: np.ndarray) -> float:
        ahead, behind = (
            {**self.weights, name: self.weights[name] + sign * STEP * direction} for sign in (1, -1)
        )
        rise = self.reading.objective(ahead, self.weights, self.batch)
        rise -= self.reading.objective(behind, self.weights, self.batch)
        return rise / (2 * STEP)


@pytest.mark.parametrize("answered_rows", [ANSWERED, None])
@pytest.mark.parametrize(("preset", "changes"), VARIANTS)
def test_the_objective_and_its_gradient_are_those_of_the_equations(
    preset: str, changes: dict[str, Any], answered_rows: int | None
) -> None:
    point = Point(preset, answered_rows, changes)
    loss, found = point.loss_and_gradients()
    assert loss == pytest.approx(point.expected_loss(), rel=1e-5)
    rng = np.random.default_rng(2)
    for name, gradient in found.items():
        for _ in range(DIRECTIONS):
            direction = rng.normal(size=point.weights[name].shape)
            slope = float(np.sum(np.asarray(gradient) * direction))
            expected = point.expected_slope(name, direction)
            assert slope == pytest.approx(expected, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_variable_is_moved_by_the_whole_objective(preset: str) -> None:
    """Else the comparison above would compare zeros."""
    _, found = Point(preset, ANSWERED).loss_and_gradients()
    assert {name for name, gradient in found.items() if np.abs(gradient).max() > 1e-5} == set(found)
