"""All weights λ2 of one EASQ in one training.

With `dpo_reference="behaviour"` the behaviour head alone trains embeddings and backbone, answers
train the satisfaction path, and ŷ's tower reads both without giving them a gradient
(`docs/library/routing.md`). So λ2 reaches nothing but the tower: towers for all weights can stand
on one trunk, side by side, and each learns what it would learn in a training of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ, EASQSettings, EMERSettings
from easq_keras.models.emer import read, score_of, slate_mask
from easq_keras.models.training import gradients


def weight_moves_tower_alone(model: type[keras.Model], settings: EMERSettings) -> bool:
    """Whether the trade-off of a model reaches the tower of ŷ alone.

    Args:
        model: its class.
        settings: its settings.
    """
    return (
        model is EASQ
        and isinstance(settings, EASQSettings)
        and settings.has_behaviour_head
        and settings.trade_off_setting == "lambda_dpo"
    )


class WeightSweep(EASQ):
    """An EASQ with a tower of ŷ for each of some weights.

    Each weight is a *lane*: a model of which only the tower and what belongs to it is used (the
    weight, the running scales, the ramp). The first lane is this model itself, and `fit` reports
    of it alone: the implicit rewards of nine lanes cost as much as half a step.
    """

    @classmethod
    def of(
        cls,
        features: Iterable[FeatureSpec],
        settings: EASQSettings,
        lanes: int,
        **compile_options: Any,
    ) -> Self:
        """Builds and compiles a sweep.

        Args:
            features: as for `EASQ`.
            settings: of all lanes.
            lanes: how many weights.
            **compile_options: of `EASQ.compile`.
        """
        sweep = cls(features, settings=settings)
        others = [EASQ(features, settings=settings) for _ in range(lanes - 1)]
        # Keras must not take the other models for parts of this one.
        sweep._others = _Untracked(others)
        sweep.compile(**compile_options)
        sweep.lane_optimizer = sweep._new_lane_optimizer()
        return sweep

    @property
    def lanes(self) -> list[EASQ]:
        """One model a weight."""
        return [self, *self._others.models]

    @property
    def _lane_variables(self) -> list[keras.Variable]:
        return [v for lane in self._others.models for v in lane.tower.trainable_variables]

    def _new_lane_optimizer(self) -> keras.Optimizer:
        optimizer = keras.optimizers.Adam(self.settings.learning_rate)
        optimizer.build(self._lane_variables)
        return optimizer

    def begin(self, weights: Sequence[float]) -> None:
        """Gives each lane its weight and the state in which this model is, which is to be fresh.

        Args:
            weights: one a lane.
        """
        new = self._new_lane_optimizer().variables
        for old, value in zip(self.lane_optimizer.variables, new, strict=True):
            old.assign(value)
        for lane, weight in zip(self.lanes, weights, strict=True):
            lane.trade_off.assign(weight)
            if lane is not self:
                lane.tower.set_weights(self.tower.get_weights())
                lane.score_scale.assign(self.score_scale)
                lane.answered_steps.assign(self.answered_steps)

    def train_step(self, data: Any) -> dict[str, Any]:
        """The step of `EASQ`, and of each other tower the same."""
        features, labels = self._unpack(data)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(features, training=True, learning=True)
            steps = [(self, outputs, self.objective(outputs, labels))]
            for lane in self._others.models:
                of_lane = {**outputs, **_tower_outputs(lane, outputs)}
                steps.append((lane, of_lane, lane.objective(of_lane, labels)))
        objective = steps[0][2]
        of_towers = [
            gradient
            for lane, _, of_lane in steps[1:]
            for gradient in gradients(tape, of_lane.behaviour, lane.tower.trainable_variables)
        ]
        self._minimise(tape, [objective.behaviour, objective.satisfaction], objective)
        self.lane_optimizer.apply(of_towers, self._lane_variables)
        for lane, lane_outputs, lane_objective in steps:
            lane._after_step(lane_outputs, lane_objective)
            if lane is not self:
                lane.answered_steps.assign(self.answered_steps)
        report = objective.report
        self.diagnostics.update_state(report.values, report.weights)
        return self.get_metrics_result()

    @staticmethod
    def of_trunk(report: Mapping[str, float]) -> dict[str, float]:
        """What `fit` reports that is the same for all lanes."""
        return {name: value for name, value in report.items() if name.startswith(_OF_TRUNK)}

    def scores(self, features: Mapping[str, Any]) -> Any:
        """ŷ of every lane, `(lanes, batch, slate)`."""
        x = self.embedding.parts(features)
        mask = slate_mask(features, x.own)
        h_main = self._main_input(read(self.backbone, x, mask), self.delta(features, x, mask))
        return ops.stack([score_of(lane.tower, h_main, mask) for lane in self.lanes])


# What names of the trunk's reports start with.
_OF_TRUNK = ("loss/behaviour", "loss/satisfaction", "answers/", "labels/", "satisfaction")


@dataclass(frozen=True)
class _Untracked:
    models: list[EASQ]


def _tower_outputs(lane: EASQ, outputs: Mapping[str, Any]) -> dict[str, Any]:
    h_main, mask = outputs["h_main"], outputs["mask"]
    return {
        "score": score_of(lane.tower, h_main, mask),
        "router": lane._router_activity(lane.tower, h_main, mask),
    }
