"""The model served in a fresh process: what passes, and how each failure explains itself."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.components.pusher import executor as pusher
from tfx.proto import pusher_pb2
from tfx.types.channel_utils import as_channel
from tfx.types.standard_artifacts import (
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
)
from tfx.utils import proto_utils

from pipeline.configs import InfraCheckSettings
from pipeline.infra_check import InfraCheck, check_model, infra_check
from pipeline.serving_requests import read_slates
from tests.pipeline.slate_stubs import save_ranker, slate_example


@pytest.fixture(scope="module")
def examples_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    split = folder / "Split-eval"
    split.mkdir()
    with tf.io.TFRecordWriter(str(split / "slates")) as writer:
        for index in range(10):
            quality = [0.1 * place for place in range(1 + index % 6)]
            writer.write(slate_example(f"r{index}", "ann", quality))
    return folder


@pytest.fixture(scope="module")
def slates(examples_folder):
    return read_slates(str(examples_folder / "Split-eval"), 10)


def check(tmp_path, slates, timeout_seconds=60, **model):
    saved_model = tmp_path / "easq" / "1"
    save_ranker(saved_model, **model)
    return check_model(
        saved_model,
        model_name="easq",
        slates=slates,
        warmup_requests=4,
        timeout_seconds=timeout_seconds,
    )


@pytest.fixture(scope="module")
def blessing(tmp_path_factory, examples_folder):
    """The component run on a good model, as TFX runs it."""
    folder = tmp_path_factory.mktemp("component")
    model, examples, blessing = Model(), Examples(), InfraBlessing()
    model.uri, examples.uri, blessing.uri = (
        str(folder / "model"),
        str(examples_folder),
        str(folder / "blessing"),
    )
    examples.split_names = '["eval"]'
    save_ranker(folder / "model" / "Format-Serving")
    InfraCheck.test_call(
        model=model,
        examples=examples,
        blessing=blessing,
        model_name="easq",
        requests=8,
        warmup_requests=6,
        timeout_seconds=60,
    )
    return blessing


def test_a_good_model_is_blessed(blessing):
    folder = Path(blessing.uri)
    result = json.loads((folder / "infra_check.json").read_text())
    assert result["failure"] == ""
    assert (folder / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 1
    assert result["requests"] == 8
    assert result["max_difference"] == 0.0
    assert result["seconds_to_available"] > 0
    assert set(result["latency_ms"]) == {"serving_default", "serving_examples"}


def test_the_blessing_holds_the_model_with_its_warmup_file(blessing):
    stamped = Path(blessing.uri, "stamped_model")
    assert (stamped / "saved_model.pb").exists()
    warmup = stamped / "assets.extra" / "tf_serving_warmup_requests"
    assert len(list(tf.data.TFRecordDataset(str(warmup)))) == 6


def test_pusher_pushes_the_model_of_the_blessing(blessing, tmp_path):
    model_blessing, pushed = ModelBlessing(), PushedModel()
    model_blessing.set_int_custom_property("blessed", 1)
    pushed.uri = str(tmp_path / "pushed")
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / "serving"))
    )
    pusher.Executor().Do(
        {"model_blessing": [model_blessing], "infra_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(destination)},
    )
    (version,) = (tmp_path / "serving").iterdir()
    assert (version / "saved_model.pb").exists()
    assert (version / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_signatures_that_disagree_are_caught(tmp_path, slates):
    result = check(tmp_path, slates, skew=0.01)
    assert not result.passed
    assert "r0, candidate 0 of 1: serving_examples and serving_default disagree: 0 and 0.01" in (
        result.failure
    )
    assert "same transform" in result.failure


def test_a_score_that_is_not_finite_is_caught(tmp_path, slates):
    result = check(tmp_path, slates, sign=float("nan"))
    assert "request r0: candidate 0 of 1 got the score nan" in result.failure


def test_a_model_that_cannot_be_loaded_shows_the_servers_log(tmp_path, slates):
    saved_model = tmp_path / "easq" / "1"
    save_ranker(saved_model)
    shutil.rmtree(saved_model / "variables")
    result = check_model(
        saved_model, model_name="easq", slates=slates, warmup_requests=4, timeout_seconds=60
    )
    assert not result.passed
    what, *log = result.failure.splitlines()
    assert what.startswith(
        "the server ended before it was ready, with exit code 1: Failed to start server. Error: "
    )
    assert log[0] == "the server's log ends with:"


def test_a_server_that_is_not_ready_in_time_says_so(tmp_path, slates):
    result = check(tmp_path, slates, timeout_seconds=0.5)
    assert "was not ready after 0.5 s" in result.failure


def test_the_component_takes_channels_and_settings():
    component = infra_check(
        model=as_channel([Model()]),
        examples=as_channel([Examples()]),
        model_name="easq",
        settings=InfraCheckSettings(requests=5, warmup_requests=2),
    )
    assert component.id == "InfraCheck"
    assert component.exec_properties["requests"] == 5
    assert component.outputs["blessing"].type is InfraBlessing


def test_a_file_that_is_no_saved_model_is_named(tmp_path, slates):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    result = check_model(
        tmp_path, model_name="easq", slates=slates, warmup_requests=0, timeout_seconds=1
    )
    assert "saved_model.pb: not a readable SavedModel" in result.failure
