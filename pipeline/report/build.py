"""Gathers what the components of a run left behind into one report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.plain_data import plain

if TYPE_CHECKING:
    from pipeline.evaluation.results import Evaluation, Metrics, SliceKey
    from pipeline.run_artifacts import RunArtifact

FORMAT = 1
_PACKAGES = (
    "easq-keras",
    "keras",
    "tensorflow",
    "tfx",
    "tensorflow-model-analysis",
    "tensorflow-transform",
    "apache-beam",
    "numpy",
)
_COUNTS = ("n_users", "n_pairs")


def build_report(
    *,
    artifacts: Mapping[str, Mapping[str, RunArtifact]],
    dataset: DatasetConfig,
    settings: RunSettings,
    seconds: Mapping[str, float],
    command: str,
) -> dict[str, Any]:
    """Returns the content of `report.json`: plain JSON data, `null` where something is not known.

    Args:
        artifacts: Component id → output key → artifact, as `last_run_artifacts` returns them.
        dataset: What the logs' tables mean.
        settings: The settings of the run.
        seconds: Step → seconds, in the order in which they ran.
        command: The command line that ran the pipeline.

    Raises:
        KeyError: A component did not get to run.
    """
    from pipeline.evaluation.results import read_evaluation
    from pipeline.evaluation.verdict import read_verdict
    from pipeline.report.behaviour_lift import behaviour_lift

    examples = Path(artifacts["LogExampleGen"]["examples"].uri)
    statistics = Path(artifacts["StatisticsGen"]["statistics"].uri)
    evaluation = artifacts["Evaluator"]["evaluation"].uri
    counts = _read_json(examples / "counts.json")
    return plain(
        {
            "format": FORMAT,
            "run": {
                "command": command,
                "dataset": dataset.name,
                "method": settings.trainer.method,
                "seed": settings.trainer.seed,
                "versions": {name: _version(name) for name in _PACKAGES},
                "settings": settings.to_dict(),
                "dataset_config": dataset.to_dict(),
            },
            "steps": _steps(artifacts, seconds),
            "counts": counts,
            "funnel": _funnel(counts),
            "behaviour_lift": behaviour_lift(examples, statistics, dataset.behaviours.columns),
            "tuning": _tuning(artifacts),
            "training": _read_json(Path(artifacts["Trainer"]["model_run"].uri) / "training.json"),
            "evaluation": _evaluation(read_evaluation(evaluation)),
            "verdict": asdict(read_verdict(evaluation)),
            "infra_check": _read_json(
                Path(artifacts["InfraCheck"]["blessing"].uri) / "infra_check.json"
            ),
            "push": _push(artifacts),
        }
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _steps(
    artifacts: Mapping[str, Mapping[str, RunArtifact]], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    def cached(step: str) -> bool:
        outputs = artifacts.get(step, {}).values()
        return bool(outputs) and all(artifact.cached for artifact in outputs)

    return [
        {"name": name, "seconds": value, "cached": cached(name)} for name, value in seconds.items()
    ]


def _funnel(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From impressions to pairs of answers, each step with its share of the one before."""
    answers = counts["answers"]
    steps = {
        "impressions used": counts["impressions"]["used"],
        "questionnaires issued": answers["read"],
        "answered": answers["read"] - answers["not_answered"],
        "joined to an impression": answers["joined"],
        "satisfied or dissatisfied": answers["satisfied"] + answers["dissatisfied"],
    }
    before = [None, *steps.values()]
    funnel = [
        {"name": name, "count": number, "share_of_previous": number / last if last else None}
        for (name, number), last in zip(steps.items(), before, strict=False)
    ]
    pairs = counts["pairs"]["same_user"]
    # Pairs are no part of the answers: their number grows with its square.
    last_step = {"name": "pairs of one user's answers", "count": pairs, "share_of_previous": None}
    return [*funnel, last_step]


def _tuning(artifacts: Mapping[str, Mapping[str, RunArtifact]]) -> dict[str, Any] | None:
    search = artifacts.get("SettingsSearch")
    return _read_json(Path(search["tuner_results"].uri) / "tuning.json") if search else None


def _push(artifacts: Mapping[str, Mapping[str, RunArtifact]]) -> dict[str, Any]:
    pushed = artifacts["Pusher"]["pushed_model"].properties
    return {
        "pushed": pushed.get("pushed") == 1,
        "version": pushed.get("pushed_version"),
        "path": pushed.get("pushed_destination"),
    }


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    last = evaluation.baseline
    slices = [
        {
            "name": ", ".join(f"{column}: {value}" for column, value in key),
            **_by_ranker(metrics),
        }
        for key, metrics in sorted(evaluation.candidate.items(), key=_slice_order)
        if key
    ]
    overall = _by_ranker(evaluation.candidate[()])
    if last is not None:
        overall["rankers"]["last_blessed"] = _by_ranker(last[()])["rankers"]["model"]
    return {"overall": overall, "slices": slices}


def _slice_order(item: tuple[SliceKey, Metrics]) -> list[tuple[str, int, str]]:
    """Classes such as `new`, `1-4`, `20+` by their numbers, what has none first."""
    numbers = ((column, re.match(r"\d+", value), value) for column, value in item[0])
    return [(column, int(found[0]) if found else -1, value) for column, found, value in numbers]


def _by_ranker(metrics: Metrics) -> dict[str, Any]:
    """`<ranker>/<metric>/<end>` → rankers → metric → mean, low, high, n_users, n_pairs."""
    rankers: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    data: dict[str, int] = {}
    tied: dict[str, float] = {}
    for name, value in metrics.items():
        ranker, metric, *end = name.split("/")
        if ranker == "data":
            data[metric] = int(value)
        elif metric == "tied_candidates":
            tied[ranker] = value
        else:
            over, _, baseline = ranker.partition("_over_")
            place = (
                differences.setdefault(baseline, {}) if baseline else rankers.setdefault(over, {})
            )
            key = end[0] if end else "mean"
            place.setdefault(metric, {})[key] = int(value) if key in _COUNTS else value
    return {"data": data, "rankers": rankers, "differences": differences, "tied": tied}


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
