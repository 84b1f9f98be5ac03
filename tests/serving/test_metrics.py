"""Metrics under TensorFlow Serving's names, on the path of the monitoring configuration."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ServingError
from serving.metrics import Counter, Histogram
from tests.serving.conftest import Running, free_port, make_predict_request


def page(running: Running, path: str = "/metrics") -> str:
    url = f"http://127.0.0.1:{running.rest_port}{path}"
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.headers["Content-Type"] == "text/plain"
        return str(response.read().decode())


def sample(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_and_latencies_are_counted(running: Running) -> None:
    ok = ':tensorflow:serving:request_count{model_name="half",status="OK"}'
    refused = ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}'
    latency = (
        ":tensorflow:serving:request_latency_count"
        '{model_name="half",API="Predict",entrypoint="GRPC"}'
    )
    runtime = (
        ':tensorflow:serving:runtime_latency_count{model_name="half",API="Predict",runtime="TF1"}'
    )
    names = (ok, refused, latency, runtime)
    before = [sample(page(running), name) for name in names]
    for _ in range(3):
        running.prediction.Predict(make_predict_request("half", x=np.float32([[2.0]])))
    with pytest.raises(grpc.RpcError):
        running.prediction.Predict(make_predict_request("half"))
    text = page(running)
    after = [sample(text, name) for name in names]
    assert [new - old for old, new in zip(before, after, strict=True)] == [3, 1, 3, 3]
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    assert "# TYPE :tensorflow:serving:request_latency histogram" in text


def test_prometheus_reads_the_page(running: Running) -> None:
    running.prediction.Predict(make_predict_request("half", x=np.float32([[2.0]])))
    families = {one.name: one for one in text_string_to_metric_families(page(running))}
    latency = families[":tensorflow:serving:request_latency"]
    assert latency.type == "histogram"
    buckets = [
        one.value
        for one in latency.samples
        if one.name.endswith("_bucket")
        and one.labels["model_name"] == "half"
        and one.labels["API"] == "Predict"
        and one.labels["entrypoint"] == "GRPC"
    ]
    assert len(buckets) == 34
    assert buckets == sorted(buckets)
    assert buckets[-1] >= 1


def test_names_that_nobody_configured_get_no_metric(running: Running) -> None:
    with pytest.raises(grpc.RpcError):
        running.prediction.Predict(make_predict_request("made up by a client"))
    assert "made up" not in page(running)
    assert ':request_count{model_name="",status="NOT_FOUND"}' in page(running)


def test_buckets_are_cumulative_powers_of_1_8() -> None:
    histogram = Histogram("latency", ["model"])
    for value in (10.0, 11.0, 18.0, 1e12):
        histogram.observe(value, 'a"b')
    lines = histogram.lines()
    assert lines[:3] == [
        'latency_bucket{model="a\\"b",le="10"} 1',
        'latency_bucket{model="a\\"b",le="18"} 3',
        'latency_bucket{model="a\\"b",le="32.4"} 3',
    ]
    assert lines[-3:] == [
        'latency_bucket{model="a\\"b",le="+Inf"} 4',
        'latency_sum{model="a\\"b"} 1e+12',
        'latency_count{model="a\\"b"} 4',
    ]
    assert len(lines) == 33 + 1 + 2


def test_counters_escape_their_labels() -> None:
    counter = Counter("count", ["a", "b"])
    counter.add("x\\y", "line\nbreak", by=2)
    assert counter.lines() == ['count{a="x\\\\y",b="line\\nbreak"} 2']


def test_without_a_monitoring_configuration_there_is_no_page(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path
) -> None:
    running = start_server(model_base_path=f"{saved_models}/half", rest_api_port=free_port())
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page(running, "/monitoring/prometheus/metrics")
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    running = start_server(
        model_base_path=f"{saved_models}/half",
        rest_api_port=free_port(),
        monitoring_config_file=str(config),
    )
    text = page(running, "/monitoring/prometheus/metrics")
    load = f'{{model_path="{saved_models}/half/123",status="success"}} 1'
    assert f":tensorflow:cc:saved_model:load_attempt_count{load}" in text
    config.write_text("prometheus_config { enabled: true }")
    with pytest.raises(ServingError, match=r"Invalid protobuf file: .*enabled"):
        start_server(model_base_path=f"{saved_models}/half", monitoring_config_file=str(config))
