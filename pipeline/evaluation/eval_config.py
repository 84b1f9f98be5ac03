"""TFMA's configuration of an evaluation: what is measured, on which slices, and the gate.

The gate has two sides. *Satisfaction*: the dataset's primary metric must exceed the random
ranking's, must not be demonstrably below the popularity ranking's, and must not fall behind the
last blessed model's. *Behaviour*: NDCG@10 must not fall behind the last blessed model's. Without a
last blessed model (a first run) only the comparisons with the other rankings apply. A model whose
scores are all the same, or spread beyond all bounds, is refused whatever its metrics. All limits
are on the whole eval split: on a slice, few answers would make the gate a lottery.
"""

from __future__ import annotations

import json

# Not `tfma.EvalConfig`, which is missing from tfma 0.52 until tfx is imported.
from tensorflow_model_analysis.proto import config_pb2

from pipeline.configs import GateSettings
from pipeline.evaluation.slate_extractor import ANSWERED, USER_ACTIVITY
from pipeline.evaluation.user_metrics import MODEL, SPREAD, TIED, over
from pipeline.logs.dataset_config import DatasetConfig

SIGNATURE = "serving_examples"
GUARDRAIL = "behaviour_ndcg@10"
# Of a candidate's score within its slate. Trained rankers spread by less than 20.
EXPLODED_SPREAD = 1000.0
# Candidates that look alike tie, but hardly ever nearly all of them.
ALL_TIED = 0.99


def is_simulated(dataset: DatasetConfig) -> bool:
    """Whether the logs know the true satisfaction, as only a simulator's do."""
    return dataset.columns.true_satisfaction is not None


def eval_config(
    dataset: DatasetConfig,
    gate: GateSettings,
    *,
    seed: int = 0,
) -> config_pb2.EvalConfig:
    """Returns the configuration for TFX's Evaluator; see `pipeline.evaluation.evaluator`.

    Args:
        dataset: Names the primary metric and the slices beside `user_activity`, and tells whether
            the true satisfaction is known.
        gate: The limits.
        seed: Of the bootstrap.
    """
    metrics = config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(
                class_name="SlateMetrics",
                module="pipeline.evaluation.tfma_metrics",
                config=json.dumps({"simulated": is_simulated(dataset), "seed": seed}),
            )
        ]
    )
    for name, threshold in _thresholds(gate, dataset.questionnaire.primary_metric).items():
        metrics.per_slice_thresholds[name].thresholds.add(
            # A bare threshold would apply to every slice.
            slicing_specs=[config_pb2.SlicingSpec()],
            threshold=threshold,
        )
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name=SIGNATURE)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(
                config_pb2.SlicingSpec(feature_keys=[name])
                for name in (USER_ACTIVITY, *_slicing_features(dataset))
            ),
        ],
        metrics_specs=[metrics],
    )


def _slicing_features(dataset: DatasetConfig) -> list[str]:
    of_candidates = {one.name for one in dataset.features if one.level == "candidate"}
    return [f"{ANSWERED}{name}" if name in of_candidates else name for name in dataset.slice_by]


def _thresholds(gate: GateSettings, primary: str) -> dict[str, config_pb2.MetricThreshold]:
    return {
        f"{over('random')}/{primary}": _at_least(gate.min_gain_over_random),
        # The upper end of the interval: below 0, popularity is better beyond doubt.
        f"{over('popularity')}/{primary}/high": _at_least(0.0),
        f"{MODEL}/{primary}": _change_at_least(-gate.satisfaction_loss),
        f"{MODEL}/{GUARDRAIL}": _change_at_least(-gate.behaviour_loss),
        f"{MODEL}/{TIED}": _at_most(ALL_TIED),
        f"{MODEL}/{SPREAD}": _at_most(EXPLODED_SPREAD),
    }


def _at_least(value: float) -> config_pb2.MetricThreshold:
    threshold = config_pb2.MetricThreshold()
    threshold.value_threshold.lower_bound.value = value
    return threshold


def _at_most(value: float) -> config_pb2.MetricThreshold:
    threshold = config_pb2.MetricThreshold()
    threshold.value_threshold.upper_bound.value = value
    return threshold


def _change_at_least(value: float) -> config_pb2.MetricThreshold:
    threshold = config_pb2.MetricThreshold()
    threshold.change_threshold.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
    threshold.change_threshold.absolute.value = value
    return threshold
