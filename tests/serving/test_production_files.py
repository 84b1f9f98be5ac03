"""The files that configure TensorFlow Serving in production: valid protos, flags and manifests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import serving
from serving.batching import read_batching_settings
from serving.flags import parse_flags
from serving.model_config import check_model_config, read_model_config
from serving.text_protos import BatchingParameters, MonitoringConfig, SSLConfig, parse_text_file
from tests.serving.conftest import Running, free_port, make_predict_request

FOLDER = Path(str(serving.__file__)).parent
CONFIG = FOLDER / "config"
KUBERNETES = FOLDER / "deploy" / "kubernetes"


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def test_models_config_keeps_two_versions() -> None:
    models = check_model_config(read_model_config(str(CONFIG / "models.config")))
    assert list(models) == ["easq"]
    assert models["easq"].model_version_policy.latest.num_versions == 2


def test_canary_config_labels_both_versions() -> None:
    models = check_model_config(read_model_config(str(CONFIG / "models.canary.config")))
    easq = models["easq"]
    assert list(easq.model_version_policy.specific.versions) == [1, 2]
    assert dict(easq.version_labels) == {"stable": 1, "canary": 2}


def test_batching_parameters() -> None:
    settings = read_batching_settings(str(CONFIG / "batching_parameters.config"))
    assert settings.max_batch_size == settings.allowed_batch_sizes[-1] == 32
    assert settings.batch_timeout_micros == 0


def test_monitoring_config() -> None:
    config = parse_text_file(str(CONFIG / "monitoring.config"), MonitoringConfig())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_ssl_example_has_every_field() -> None:
    config = parse_text_file(str(CONFIG / "ssl.config.example"), SSLConfig())
    assert {field.name for field, _ in config.ListFields()} == set(
        SSLConfig.DESCRIPTOR.fields_by_name
    )


def test_the_config_map_holds_the_configuration_files() -> None:
    (config_map,) = manifests("config.yaml")
    for name, kind in (
        ("models.config", model_server_config_pb2.ModelServerConfig),
        ("monitoring.config", MonitoringConfig),
        ("batching_parameters.config", BatchingParameters),
    ):
        in_map = text_format.Parse(config_map["data"][name], kind())
        assert in_map == parse_text_file(str(CONFIG / name), kind())


@pytest.mark.parametrize("place", ["docker compose", "kubernetes"])
def test_the_flags_are_tensorflow_model_servers(place: str) -> None:
    if place == "kubernetes":
        (deployment,) = manifests("deployment.yaml")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        flags, image = container["args"], container["image"]
    else:
        compose = yaml.safe_load((FOLDER / "deploy" / "docker-compose.yaml").read_text())
        service = compose["services"]["model-server"]
        flags, image = service["command"], service["image"]
        # Open to this machine only.
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert image == "tensorflow/serving:2.21.0"
    options = parse_flags(flags)
    for file in (
        options.model_config_file,
        options.monitoring_config_file,
        options.batching_parameters_file,
    ):
        assert (CONFIG / Path(file).name).is_file()
    assert not any("bind_address" in flag for flag in flags)


def test_the_manifests_fit_together() -> None:
    (deployment,) = manifests("deployment.yaml")
    (service,) = manifests("service.yaml")
    scaler, rules = manifests("autoscaling.yaml")
    pod = deployment["spec"]["template"]
    container = pod["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/easq", "port": "http"}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (rule,) = yaml.safe_load(rules["data"]["rules.yaml"])["rules"]
    assert rule["name"]["as"] == scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_the_embedded_server_runs_on_the_same_files(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path
) -> None:
    canary = (CONFIG / "models.canary.config").read_text()
    (tmp_path / "models.config").write_text(
        canary.replace("/models/easq", str(saved_models / "slates"))
    )
    running = start_server(
        model_config_file=str(tmp_path / "models.config"),
        allow_version_labels_for_unavailable_models=True,
        enable_batching=True,
        batching_parameters_file=str(CONFIG / "batching_parameters.config"),
        monitoring_config_file=str(CONFIG / "monitoring.config"),
        rest_api_port=free_port(),
    )
    for label, version in (("stable", 1), ("canary", 2)):
        request = make_predict_request(
            "easq",
            label=label,
            user_id=np.array([b"u"], object),
            item_id=np.array([[b"a"]], object),
            duration=np.float32([[1.0]]),
        )
        response = running.prediction.Predict(request, timeout=10)
        assert response.model_spec.version.value == version
