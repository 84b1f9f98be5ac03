"""The pipeline, compiled for Kubeflow and for Vertex AI."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.configs import RunSettings
from pipeline.kubeflow.settings import KubeflowSettings, Resources, Variable, Volume
from pipeline.kubeflow_runner import compile_pipeline
from pipeline.logs.dataset_config import load_dataset_config

IMAGE = "registry.example/easq:1.0"


def remote_settings(**changes) -> KubeflowSettings:
    """Everything in a bucket, which both engines take."""
    values = {
        "image": IMAGE,
        "pipeline_root": "gs://bucket/pipelines",
        "logs": "gs://bucket/logs",
        "serving_dir": "gs://bucket/models/easq",
        "window_spans": 7,
        "environment": (Variable("TF_CPP_MIN_LOG_LEVEL", value="1"),),
        "resources": (Resources("Trainer", cpus=8, memory_gb=32, gpus=1),),
    }
    return KubeflowSettings(**{**values, **changes})


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> Path:
    """A folder with easq.yaml for Kubeflow, which mounts a volume, and easq.json for Vertex AI."""
    folder = tmp_path_factory.mktemp("compiled")
    dataset = load_dataset_config("simulated")
    on_volume = remote_settings(
        pipeline_root="minio://mlpipeline/v2/artifacts",
        logs="s3://bucket/logs",
        serving_dir="/mnt/easq/models",
        volumes=(Volume("easq", "/mnt/easq"),),
        environment=(
            Variable("AWS_ENDPOINT_URL", value="http://minio-service.kubeflow:9000"),
            Variable("AWS_ACCESS_KEY_ID", secret="mlpipeline-minio-artifact", key="accesskey"),
        ),
    )
    compile_pipeline(dataset, RunSettings(), on_volume, folder / "easq.yaml")
    compile_pipeline(dataset, RunSettings(), remote_settings(), folder / "easq.json")
    return folder


@pytest.fixture(scope="session")
def kubeflow_documents(compiled) -> list[dict]:
    return list(yaml.safe_load_all((compiled / "easq.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def vertex_job(compiled) -> dict:
    return json.loads((compiled / "easq.json").read_text(encoding="utf-8"))
