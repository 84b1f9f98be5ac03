"""The model card that goes with a pushed model: what it is for, how good it is, what to mind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import tensorflow as tf

from pipeline.configs import MODEL_NAME
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.plain_data import plain
from pipeline.report import text
from pipeline.report.artifact_files import read_json
from pipeline.report.build import installed_versions
from pipeline.report.card_text import INTENDED_USE, ethics, limits
from pipeline.report.html import template

CARD_FORMAT = 1
# TF Serving looks for nothing in this folder of a version but the warm-up file.
FOLDER = "assets.extra"
CARD_NAME = "model_card"


def full_fit_card(
    dataset: DatasetConfig,
    *,
    examples: str,
    statistics: str,
    model_run: str,
    evaluation: str,
    infra_check: str,
    logs: str,
) -> dict[str, Any]:
    """The card of a model that the pipeline fitted, but for its version.

    Args:
        dataset: What the logs' tables mean.
        examples, statistics, model_run, evaluation, infra_check: Folders of artifacts.
        logs: Where the logs are, or which spans of them were read; may be empty.
    """
    from pipeline.evaluation.results import read_evaluation
    from pipeline.evaluation.verdict import read_verdict
    from pipeline.report.data_part import data_part
    from pipeline.report.evaluation_part import evaluation_part

    training = read_json(model_run, "training.json")
    evaluated = evaluation_part(read_evaluation(evaluation))
    data = data_part(examples, statistics)
    return _card(
        dataset,
        training,
        # A pair group ends with the answer that made it.
        f"{text.count(data['counts']['pair_groups'])} answers",
        {
            "logs": logs,
            **data,
            "evaluation": {part: evaluated[part] for part in ("overall", "slices")},
            "tested_on": "the eval split: requests later than all that it learnt from",
            "verdict": asdict(read_verdict(evaluation)),
            "infra_check": read_json(infra_check, "infra_check.json"),
        },
    )


def span_card(
    dataset: DatasetConfig,
    *,
    training: Mapping[str, Any],
    record: Mapping[str, Any],
    before: int,
) -> dict[str, Any]:
    """The card of a model that `easq online` pushed, but for its version.

    Args:
        dataset: What the logs' tables mean.
        training: `training.json` of the span.
        record: What the engine noted of the span.
        before: The version that was the newest before it.
    """
    rankers = {
        ranker: {metric: _whole_counts(entry) for metric, entry in metrics.items()}
        for ranker, metrics in record["rankers"].items()
    }
    answered = text.count(record["counts"]["pair_groups"])
    return _card(
        dataset,
        training,
        f"{answered} answers of this span, and those of the spans before it",
        {
            "logs": f"span {record['span']}, number {record['sequence']} since the full fit; "
            f"the version before it is {before}",
            "counts": record["counts"],
            "funnel": [],
            "times": {},
            "evaluation": {"overall": {"rankers": rankers}, "slices": []},
            "tested_on": "the span before it was learnt, with the answers of the last spans",
            "verdict": {
                "sentence": record["reason"],
                "blessed": record["gate"]["blessed"],
                "checks": record["gate"]["checks"],
            },
            "infra_check": None,
        },
    )


def _whole_counts(entry: Mapping[str, float]) -> dict[str, float]:
    return {
        name: int(value) if name in ("n_users", "n_pairs") else value
        for name, value in entry.items()
    }


def _card(
    dataset: DatasetConfig, training: Mapping[str, Any], learnt_from: str, rest: Mapping[str, Any]
) -> dict[str, Any]:
    return plain(
        {
            "format": CARD_FORMAT,
            "name": MODEL_NAME,
            "run": {
                "dataset": dataset.name,
                "method": training["method"],
                "seed": training["trainer"]["seed"],
                "versions": installed_versions(),
                "dataset_config": dataset.to_dict(),
            },
            "training": {
                name: training[name]
                for name in ("trainer", "settings", "trade_off", "parameters", "steps")
            },
            "intended_use": list(INTENDED_USE),
            "limits": limits(dataset, learnt_from),
            "ethics": ethics(dataset, rest["counts"]),
            **rest,
        }
    )


def write_card(card: Mapping[str, Any], version_folder: str, number: int) -> None:
    """Puts the card of the version `number` into its folder, as `model_card.html` and `.json`."""
    card = {**card, "version": str(number)}
    place = os.path.join(version_folder, FOLDER)
    tf.io.gfile.makedirs(place)
    documents = {
        "json": json.dumps(card, indent=1, allow_nan=False),
        "html": render_card(card),
    }
    for kind, document in documents.items():
        with tf.io.gfile.GFile(os.path.join(place, f"{CARD_NAME}.{kind}"), "w") as file:
            file.write(document)


def render_card(card: Mapping[str, Any]) -> str:
    """Formats a card for people."""
    return template("model_card.html.j2").render(
        card=card,
        headline=text.headline_metrics(card),
        ranker_names=text.RANKER_NAMES,
        metric_names=text.METRIC_NAMES,
        metric_meanings=text.METRIC_MEANINGS,
    )
