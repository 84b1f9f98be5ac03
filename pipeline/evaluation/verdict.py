"""Why a model was blessed, or not: the gate's checks with their numbers, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer

from pipeline.evaluation.checks import (
    CONSTANT,
    LAST_BLESSED,
    METRIC_NAMES,
    SCORES,
    Check,
    exploded,
    remedy,
)
from pipeline.evaluation.eval_config import GUARDRAIL
from pipeline.evaluation.results import Evaluation, Metrics, read_evaluation
from pipeline.evaluation.user_metrics import MODEL, TIED


@dataclass(frozen=True)
class Verdict:
    """What the gate decided.

    Attributes:
        blessed: Whether all checks passed.
        sentence: Why, in one sentence.
        first: Whether there was no blessed model to compare with.
        checks: All limits that applied.
    """

    blessed: bool
    sentence: str
    first: bool
    checks: tuple[Check, ...]


def read_verdict(folder: str) -> Verdict:
    """Explains the validation that an Evaluator wrote to its output folder."""
    evaluation = read_evaluation(folder)
    config, *_ = eval_config_writer.load_eval_run(folder)
    result = tfma.load_validation_result(folder)
    failed = {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for validation in result.metric_validations_per_slice
        for failure in validation.failures
    }
    overall = evaluation.candidate[()]
    first = evaluation.baseline is None
    checks: list[Check] = []
    for name, threshold in _thresholds(config):
        if threshold.value_threshold.HasField("upper_bound"):
            if (name, False) in failed:
                checks.append(_score_check(name, threshold, overall))
        elif threshold.HasField("value_threshold"):
            checks.append(_ranking_check(name, threshold, overall, (name, False) not in failed))
        if threshold.HasField("change_threshold") and not first:
            checks.append(_change_check(name, threshold, evaluation, (name, True) not in failed))
    # What the model is for comes first.
    checks.sort(
        key=lambda check: (
            not check.said,
            check.metric == METRIC_NAMES[GUARDRAIL],
            check.against == LAST_BLESSED,
        )
    )
    return Verdict(
        blessed=result.validation_ok,
        sentence=_sentence(result.validation_ok, checks, overall, first=first),
        first=first,
        checks=tuple(checks),
    )


def _thresholds(
    config: config_pb2.EvalConfig,
) -> list[tuple[str, config_pb2.MetricThreshold]]:
    return [
        (name, limit.threshold)
        for spec in config.metrics_specs
        for name, limits in sorted(spec.per_slice_thresholds.items())
        for limit in limits.thresholds
    ]


def _ranking_check(
    name: str, threshold: config_pb2.MetricThreshold, overall: Metrics, passed: bool
) -> Check:
    """A check of `model_over_<ranker>/<metric>` or of its upper end, `…/high`."""
    ranker, metric, *end = name.split("/")
    difference = f"{ranker}/{metric}"
    return Check(
        metric=METRIC_NAMES[metric],
        against=f"the {ranker.removeprefix('model_over_')} ranking",
        difference=overall[difference],
        low=overall[f"{difference}/low"],
        high=overall[f"{difference}/high"],
        limit=threshold.value_threshold.lower_bound.value,
        of_high=end == ["high"],
        passed=passed,
    )


def _score_check(name: str, threshold: config_pb2.MetricThreshold, overall: Metrics) -> Check:
    """What is wrong with the scores themselves."""
    value = overall[name]
    return Check(
        metric=SCORES,
        against=name.removeprefix(f"{MODEL}/").replace("_", " "),
        difference=value,
        low=float("nan"),
        high=float("nan"),
        limit=threshold.value_threshold.upper_bound.value,
        of_high=False,
        passed=False,
        said=CONSTANT if name.endswith(TIED) else exploded(value),
    )


def _change_check(
    name: str, threshold: config_pb2.MetricThreshold, evaluation: Evaluation, passed: bool
) -> Check:
    metric = name.removeprefix(f"{MODEL}/")
    over = evaluation.over_baseline(metric)
    return Check(
        metric=METRIC_NAMES[metric],
        against=LAST_BLESSED,
        difference=over["mean"],
        low=over["low"],
        high=over["high"],
        limit=threshold.change_threshold.absolute.value,
        of_high=False,
        passed=passed,
    )


def _sentence(blessed: bool, checks: list[Check], overall: Metrics, *, first: bool) -> str:
    about = next(check.metric for check in checks if not check.said)
    primary = next(name for name, text in METRIC_NAMES.items() if text == about)
    users = int(overall[f"model/{primary}/n_users"])
    pairs = int(overall[f"model/{primary}/n_pairs"])
    evidence = f"{about} from {users:,} users, {pairs:,} pairs"
    if not blessed:
        failed = [check for check in checks if not check.passed]
        reasons = "; ".join(check.reason() for check in failed)
        return f"Not blessed: {reasons} ({evidence}).{remedy(failed)}"
    passed = "; ".join(check.reason() for check in checks)
    ending = "; there was no blessed model before it to compare with" if first else ""
    return f"Blessed: {passed}{ending} ({evidence})."
