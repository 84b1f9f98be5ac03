"""A whole run's artifacts, written as its components write them, and the report of it."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report import build_report
from pipeline.run_artifacts import RunArtifact
from tests.pipeline.evaluation_run import evaluate_models
from tests.pipeline.slate_stubs import DATASET, save_ranker, slate_example

D, U, S = 0, 1, 2
COUNTS = {
    "split_time_ms": 1,
    "pair_groups": 3,
    "impressions": {"read": 1010, "used": 1000, "rejected": {"duplicate": 10}},
    "answers": {
        "read": 50,
        "joined": 18,
        "late": 1,
        "not_answered": 30,
        "satisfied": 9,
        "dissatisfied": 3,
        "uncertain": 6,
        "rejected": {"not_triggered": 1},
    },
    "users": {"read": 8, "used": 8, "rejected": {}},
    "items": {"read": 90, "used": 90, "rejected": {}},
    "slates": {"read": 60, "train": 40, "eval": 20, "answered": 7, "rejected": {}},
    "pairs": {"same_user": 4, "in_request": 31},
    "unknown": {"users": 0, "items": 0},
    "missing": {"quality": 0},
}
TRAINING = {
    "method": "EASQ",
    "trainer": {"seed": 7, "batch_size": 32},
    "parameters": 4321,
    "trade_off": {"lambda_dpo": 0.5},
    "settings": {"lambda_dpo": 0.5, "units": 64},
    "steps": 1234,
    "seconds": 21.5,
    "history": {
        "step": [1, 617, 1234],
        "loss/main": [0.7, 0.6, 0.55],
        "loss/satisfaction": [0.69, 0.4, 0.3],
        "rewards/margins": [0.0, 0.2, 0.4],
        "answers/coverage": [0.5, 0.5, 0.5],
    },
    "pair_coverage": {"share_of_batches": 0.25, "pairs_per_batch": 0.75},
    "alarms": ["no expert of ŷ is open for 60% of the candidates"],
}
TUNING = {
    "method": "EASQ",
    "objective": {
        "metric": "pair_accuracy",
        "guardrail": "behaviour_ndcg@10",
        "behaviour_loss": 0.02,
    },
    "budget": {
        "trials": 2,
        "reference_passes": 1,
        "compiled_models": 1,
        "training_slates": 32,
        "validation_slates": 8,
        "validation_users": 3,
        "validation_pairs": 5,
        "seconds": 61.5,
    },
    "space": [
        {"name": "lambda_dpo", "configured": 0.5, "choices": [], "low": 0.1, "high": 3.0},
        {"name": "lora_rank", "configured": 16, "choices": [4, 16], "low": None, "high": None},
    ],
    "reference": {"metric": 0.5, "behaviour": 0.81},
    "trials": [
        {
            "values": {"lambda_dpo": 0.5, "lora_rank": 16},
            "score": 0.6,
            "within_limit": True,
            "metric": {"mean": 0.6, "low": 0.4, "high": 0.8},
            "over_configured": {"mean": 0.0, "low": 0.0, "high": 0.0},
            "behaviour": 0.8,
            "behaviour_drop": 0.01,
            "true_top4": 0.3,
            "seconds": 40.0,
        },
        {
            "values": {"lambda_dpo": 1.25, "lora_rank": 16},
            "score": 0.65,
            "within_limit": True,
            "metric": {"mean": 0.65, "low": 0.45, "high": 0.85},
            "over_configured": {"mean": 0.05, "low": -0.1, "high": 0.2},
            "behaviour": 0.795,
            "behaviour_drop": 0.015,
            # JSON has no NaN of its own; Python's reader takes it.
            "true_top4": float("nan"),
            "seconds": 21.5,
        },
    ],
    "chosen": 1,
    "sentence": "Trial 2 was chosen: +0.050 over the configured settings.",
}
INFRA_CHECK = {
    "passed": True,
    "failure": "",
    "requests": 64,
    "warmup_requests": 16,
    "seconds_to_available": 7.25,
    "latency_ms": {
        "serving_examples": {"p50": 2.1, "p99": 6.2},
        "serving_default": {"p50": 1.9, "p99": 5.1},
    },
    "max_difference": 0.0,
}


def _write_answered(folder):
    """Likes: 3 of the 4 satisfied answers, none of the 2 dissatisfied; r1 stands in two groups.

    r3 has two answers, and as in the split of a real log a record for each of them.
    """
    r1 = slate_example("r1", "ann", [0.1, 0.2], answer=[S, D], behaviour_like=[1, 0])
    r2 = slate_example("r2", "ann", [0.1, 0.2], answer=[S, -1], behaviour_like=[1, 0])
    r3 = [
        slate_example("r3", "bob", [0.1, 0.2], answer=answer, behaviour_like=[0, 0])
        for answer in ([S, -1], [-1, D])
    ]
    r4 = slate_example("r4", "cy", [0.1, 0.2], answer=[U, S], behaviour_like=[1, 1])
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "slates-0")) as writer:
        for record in (r1, r1, r2, *r3, r4):
            writer.write(record)


# By answer, how many places alignment moved the candidate up.
SLATES = {
    "answered": 5,
    "moved": {
        "satisfied": {"mean": 0.75, "low": 0.25, "high": 1.5, "n_answers": 4},
        "dissatisfied": {"mean": -1.0, "low": None, "high": None, "n_answers": 1},
    },
    "slates": [
        {
            "request_id": "r<7>",
            "candidates": [
                {
                    "item_id": f"i{place}",
                    "described": {"topic": "music"},
                    "after": place,
                    "before": 3 - place,
                    "shown": place == 1,
                    "answer": "satisfied" if place == 1 else None,
                    "behaviours": ["like"] if place == 1 else [],
                    "true_satisfaction": 0.5 / place,
                }
                for place in (1, 2)
            ],
        }
    ],
}


def _write_statistics(folder, first_ms, last_ms):
    """Of 10 candidates 8 are shown and 2 liked: a like rate of 25 %."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add()
    for name, mean in (("exposed", 0.8), ("behaviour_like", 0.2), ("time", 0.0)):
        feature = dataset.features.add()
        feature.path.step.append(name)
        feature.num_stats.mean = mean
    feature.num_stats.common_stats.num_non_missing = 10
    feature.num_stats.min, feature.num_stats.max = first_ms, last_ms
    folder.mkdir(parents=True)
    (folder / "FeatureStats.pb").write_bytes(statistics.SerializeToString())


def _write_anomalies(folder, *names):
    anomalies = anomalies_pb2.Anomalies()
    for name in names:
        anomalies.anomaly_info[name].description = "out of range"
    folder.mkdir(parents=True)
    (folder / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    _write_answered(root / "examples" / "Split-answered")
    _write_statistics(root / "statistics" / "Split-train", 0, 60_000)
    _write_statistics(root / "statistics" / "Split-eval", 60_000, 90_000)
    _write_anomalies(root / "anomalies" / "Split-train")
    _write_anomalies(root / "anomalies" / "Split-eval", "quality")
    for name, file, content in (
        ("examples", "counts.json", COUNTS),
        ("model_run", "training.json", TRAINING),
        ("model_run", "slates.json", SLATES),
        ("infra", "infra_check.json", INFRA_CHECK),
        ("tuner_results", "tuning.json", TUNING),
    ):
        (root / name).mkdir(exist_ok=True)
        (root / name / file).write_text(json.dumps(content))
    good, bad = save_ranker(root / "good"), save_ranker(root / "bad", sign=-1.0)
    slates = [
        slate_example(
            f"r{i}",
            f"u{i}",
            [0.9, 0.5, 0.1],
            answer=[S, -1, D],
            behaviour_level=[1, 0, 0],
            true_satisfaction=[0.9, 0.5, 0.2],
            user_train_slates=[[0, 3, 19, 1][i]],
        )
        for i in range(4)
    ]
    evaluate_models(root / "evaluation", [good, bad], slates)
    shutil.rmtree(root / "good")

    def artifact(folder, cached=False, **properties):
        return RunArtifact(str(root / folder), properties, cached)

    return {
        "LogExampleGen": {"examples": artifact("examples", cached=True, logs="/data/logs")},
        "StatisticsGen": {"statistics": artifact("statistics")},
        "StoppingExampleValidator": {"anomalies": artifact("anomalies")},
        "Trainer": {"model_run": artifact("model_run")},
        "Evaluator": {"evaluation": artifact("evaluation")},
        "InfraCheck": {"blessing": artifact("infra")},
        "Pusher": {
            "pushed_model": artifact(
                "pushed", pushed=1, pushed_version="17", pushed_destination="serving_model/easq/17"
            )
        },
    }


@pytest.fixture(scope="session")
def tuned_artifacts(artifacts):
    """The same where the settings were searched."""
    root = Path(artifacts["Trainer"]["model_run"].uri).parent
    results = RunArtifact(str(root / "tuner_results"), {}, False)
    return {**artifacts, "SettingsSearch": {"tuner_results": results}}


@pytest.fixture(scope="session")
def report(artifacts):
    return report_of(artifacts)


def report_of(artifacts):
    return build_report(
        root=Path(artifacts["LogExampleGen"]["examples"].uri).parent,
        artifacts=artifacts,
        dataset=DatasetConfig.from_dict(DATASET),
        settings=RunSettings(),
        seconds={"LogExampleGen": 3.25, "Trainer": 22.0},
        command="easq run --dataset <stub>",
    )
