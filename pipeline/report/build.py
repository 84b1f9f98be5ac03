"""Gathers what the components of a run left behind into one report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.plain_data import plain

if TYPE_CHECKING:
    from pipeline.run_artifacts import RunArtifact

FORMAT = 2
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


def build_report(
    *,
    root: Path,
    artifacts: Mapping[str, Mapping[str, RunArtifact]],
    dataset: DatasetConfig,
    settings: RunSettings,
    seconds: Mapping[str, float],
    command: str,
) -> dict[str, Any]:
    """Returns the content of `report.json`: plain JSON data, `null` where something is not known.

    Args:
        root: The run's folder, which the places in the report are relative to.
        artifacts: Component id → output key → artifact, as `last_run_artifacts` returns them.
        dataset: What the logs' tables mean.
        settings: The settings of the run.
        seconds: Step → seconds, in the order in which they ran.
        command: The command line that ran the pipeline.

    Raises:
        KeyError: A component did not get to run.
    """
    # Here, as they import TFMA and TensorFlow, which rendering a report does without.
    from pipeline.alignment_examples import SLATES_FILE
    from pipeline.evaluation.results import read_evaluation
    from pipeline.evaluation.verdict import read_verdict
    from pipeline.example_gen.executor import LOGS
    from pipeline.report.artifact_files import read_json
    from pipeline.report.behaviour_lift import behaviour_lift
    from pipeline.report.collisions import collisions
    from pipeline.report.data_part import anomalies_part, data_part
    from pipeline.report.evaluation_part import evaluation_part
    from pipeline.report.repeat import environment, examples_digest

    examples = artifacts["LogExampleGen"]["examples"]
    statistics = artifacts["StatisticsGen"]["statistics"].uri
    anomalies = artifacts["StoppingExampleValidator"]["anomalies"].uri
    model_run = artifacts["Trainer"]["model_run"].uri
    evaluation = artifacts["Evaluator"]["evaluation"].uri
    search = artifacts.get("SettingsSearch")
    return plain(
        {
            "format": FORMAT,
            "run": {
                "command": command,
                "dataset": dataset.name,
                "method": settings.trainer.method,
                "seed": settings.trainer.seed,
                "versions": installed_versions(),
                "environment": environment(),
                "settings": settings.to_dict(),
                "dataset_config": dataset.to_dict(),
            },
            "steps": _steps(artifacts, seconds),
            **data_part(examples.uri, statistics),
            "anomalies": anomalies_part(anomalies, statistics),
            "behaviour_lift": behaviour_lift(
                Path(examples.uri), statistics, dataset.behaviours.columns
            ),
            "collisions": collisions(statistics, dataset),
            "tuning": (read_json(search["tuner_results"].uri, "tuning.json") if search else None),
            "training": read_json(model_run, "training.json"),
            "alignment": read_json(model_run, SLATES_FILE),
            "evaluation": evaluation_part(read_evaluation(evaluation)),
            "verdict": asdict(read_verdict(evaluation)),
            "infra_check": read_json(artifacts["InfraCheck"]["blessing"].uri, "infra_check.json"),
            "push": _push(artifacts),
            "lineage": {
                "logs": examples.properties.get(LOGS),
                "fingerprint": examples.properties.get("input_fingerprint"),
                "examples_sha256": examples_digest(Path(examples.uri)),
                "artifacts": {
                    component: {
                        key: os.path.relpath(artifact.uri, root.resolve())
                        for key, artifact in outputs.items()
                    }
                    for component, outputs in artifacts.items()
                },
            },
        }
    )


def installed_versions() -> dict[str, str | None]:
    """The packages that a model depends on, and their versions."""
    return {name: _version(name) for name in _PACKAGES}


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


def _push(artifacts: Mapping[str, Mapping[str, RunArtifact]]) -> dict[str, Any]:
    pushed = artifacts["Pusher"]["pushed_model"].properties
    path = pushed.get("pushed_destination")
    return {
        "pushed": pushed.get("pushed") == 1,
        "version": pushed.get("pushed_version"),
        "path": path,
        "card": path and f"{path}/assets.extra/model_card.html",
    }
