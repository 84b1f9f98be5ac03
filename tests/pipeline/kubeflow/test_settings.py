"""Settings that cannot work on a cluster are refused before anything is compiled."""

from pathlib import Path

import pytest
import yaml

from pipeline.configs import RunSettings
from pipeline.kubeflow.settings import KubeflowSettings, Volume
from pipeline.kubeflow_runner import compile_pipeline
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import load_dataset_config

GOOD = """
image: registry.example:5000/easq:1.0
pipeline_root: minio://mlpipeline/v2/artifacts
logs: s3://bucket/logs
serving_dir: /mnt/easq/models
window_spans: 7
volumes: [{claim: easq, path: /mnt/easq}]
environment:
  - {name: AWS_ENDPOINT_URL, value: "http://minio-service.kubeflow:9000"}
  - {name: AWS_ACCESS_KEY_ID, secret: mlpipeline-minio-artifact, key: accesskey}
resources: [{component: Trainer, cpus: 8, memory_gb: 32}]
"""


def settings(**changes) -> KubeflowSettings:
    values = {
        "image": "registry.example/easq:1.0",
        "pipeline_root": "gs://bucket/root",
        "logs": "gs://bucket/logs",
        "serving_dir": "gs://bucket/models",
    }
    return KubeflowSettings(**{**values, **changes})


def test_a_file_of_settings_and_a_change(tmp_path):
    path = tmp_path / "kubeflow.yaml"
    path.write_text(GOOD, encoding="utf-8")
    read = KubeflowSettings.from_yaml(path, image="registry.example/easq:1.1")
    assert read.image == "registry.example/easq:1.1"
    assert read.volumes == (Volume("easq", "/mnt/easq"),)
    assert read.environment[1].secret == "mlpipeline-minio-artifact"
    assert read.resources[0].cpus == 8.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "easq"}, "image: found 'easq'; expected an image with the tag of one build"),
        ({"image": "easq:latest"}, "image: found 'easq:latest'; expected an image with the tag"),
        ({"image": "host:5000/easq"}, "image: found 'host:5000/easq'; expected an image with the"),
        ({"pipeline_root": "/data/root"}, "pipeline_root: found '/data/root'; expected gs://… or"),
        ({"logs": "logs"}, "logs: found 'logs'; expected gs://… or s3://… or hdfs://…, or a path"),
        ({"logs": "/mnt/other"}, "a path on one of the volumes: a step sees no other place"),
        ({"serving_dir": "s3://bucket/m"}, "serving_dir: found 's3://bucket/m'; expected gs://…,"),
        ({"serving_dir": "gs://"}, "serving_dir: found 'gs://'"),
        ({"window_spans": -1}, "window_spans: found -1; expected 0 or more"),
    ],
)
def test_a_place_or_an_image_that_no_step_could_use(changes, said):
    with pytest.raises(ConfigError) as error:
        settings(**changes)
    assert said in str(error.value)


def test_a_path_beside_a_volume_is_not_on_it():
    volumes = (Volume("easq", "/mnt/easq"),)
    assert settings(volumes=volumes, logs="/mnt/easq").logs == "/mnt/easq"
    with pytest.raises(ConfigError, match="logs: found '/mnt/easq2/logs'"):
        settings(volumes=volumes, logs="/mnt/easq2/logs")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("volumes: [{claim: easq, path: mnt}]", "volumes[0].path: found 'mnt'; expected an abs"),
        ("environment: [{name: A}]", "environment[0]: found a variable A with no sources"),
        ("environment: [{name: A, value: b, secret: c}]", "a variable A with a mixture of sources"),
        ("resources: [{component: Trainer, cpus: 0}]", "resources[0].cpus: found 0.0; expected m"),
        ("imag: easq:1", "did you mean 'image'?"),
    ],
)
def test_a_wrong_line_in_the_file_is_named(tmp_path, text, said):
    path = tmp_path / "kubeflow.yaml"
    values = yaml.safe_load(GOOD) | yaml.safe_load(text)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        KubeflowSettings.from_yaml(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "beam_args", "out", "said"),
    [
        ({}, ["--runner=FnApiRunner"], "easq.yml", "out: found"),
        ({}, ["--runner=FlinkRuner"], "easq.yaml", "did you mean 'FlinkRunner'?"),
        ({"pipeline_root": "s3://b/r"}, [], "easq.json", "expected gs://… on Vertex AI"),
        (
            {"pipeline_root": "minio://b/r"},
            ["--runner=DataflowRunner", "--sdk_container_image=registry.example/easq:1.0"],
            "easq.yaml",
            "pipeline_root: found 'minio://b/r'; expected gs://… with distributed Beam",
        ),
        (
            {"logs": "/mnt/easq/logs", "volumes": (Volume("easq", "/mnt/easq"),)},
            ["--runner", "FlinkRunner", "--environment_type=EXTERNAL"],
            "easq.yaml",
            "logs: found '/mnt/easq/logs'; expected gs://…, s3://… or hdfs://… with distributed",
        ),
        ({"volumes": (Volume("easq", "/mnt/easq"),)}, [], "easq.json", "Vertex AI mounts none"),
    ],
)
def test_places_that_do_not_go_together(tmp_path, changes, beam_args, out, said):
    run = RunSettings(beam_args=tuple(beam_args or ["--runner=FnApiRunner"]))
    with pytest.raises(ConfigError) as error:
        compile_pipeline(
            load_dataset_config("simulated"), run, settings(**changes), Path(tmp_path, out)
        )
    assert said in str(error.value)
