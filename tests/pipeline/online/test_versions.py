"""The serving folder: whole versions or none, and labels of versions that are there."""

import json

import pytest
from tensorflow_serving.config import model_server_config_pb2

from pipeline.local_runner import Workdir
from pipeline.online.state import OnlineFolder, OnlineState, Version
from pipeline.online.versions import follow_state, push_version, read_origin
from serving.text_protos import parse_text_file


@pytest.fixture
def saved_model(tmp_path):
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


@pytest.fixture
def serving_dir(tmp_path):
    return tmp_path / "run" / "serving_model" / "easq"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_version_holds_the_model_and_where_it_came_from(saved_model, serving_dir):
    target = push_version(saved_model, serving_dir, 7, {"span": "s1"})
    assert target == serving_dir / "7"
    assert names(target) == ["assets.extra", "saved_model.pb", "variables"]
    assert read_origin(target) == {"span": "s1"}
    assert names(serving_dir) == ["7"]


@pytest.mark.parametrize("step", ["shutil.copytree", "os.fsync", "os.rename"])
def test_stopped_at_any_step_there_is_no_version(step, saved_model, serving_dir, monkeypatch):
    with monkeypatch.context() as patched:

        def stop(*_, **__):
            raise OSError("No space left on device")

        patched.setattr(step, stop)
        with pytest.raises(OSError, match="No space"):
            push_version(saved_model, serving_dir, 7, {"span": "s1"})
    assert not (serving_dir / "7").exists()
    push_version(saved_model, serving_dir, 7, {"span": "s1"})
    assert names(serving_dir) == ["7"]


def test_the_same_model_is_not_pushed_over_itself(saved_model, serving_dir):
    target = push_version(saved_model, serving_dir, 7, {"span": "s1"})
    (target / "seen").touch()
    push_version(saved_model, serving_dir, 7, {"span": "s1"})
    assert (target / "seen").exists()


def test_another_model_of_the_same_number_replaces_it(saved_model, serving_dir):
    target = push_version(saved_model, serving_dir, 7, {"span": "s1"})
    (target / "seen").touch()
    push_version(saved_model, serving_dir, 7, {"span": "s2"})
    assert not (target / "seen").exists()
    assert read_origin(target) == {"span": "s2"}


def state_of(*numbers, stable):
    versions = tuple(Version(number, 0, "", "/m") for number in numbers)
    return OnlineState("/fit", "/graph", (), versions, stable, versions[-1], max(numbers))


def test_the_folder_and_the_labels_follow_the_state(saved_model, serving_dir, tmp_path):
    folder = OnlineFolder(Workdir(tmp_path / "run"))
    for number in (5, 6, 7, 8):
        push_version(saved_model, serving_dir, number, {})
    (serving_dir / ".incoming-9").mkdir()
    (serving_dir / "notes").mkdir()
    follow_state(folder, state_of(6, 7, stable=6))
    # What is no version is none of our business.
    assert names(serving_dir) == ["6", "7", "notes"]
    config = parse_text_file(str(folder.models_config), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("easq", str(serving_dir.resolve()))
    assert dict(model.version_labels) == {"stable": 6, "canary": 7}
    assert model.model_version_policy.latest.num_versions == 2


def test_a_config_that_is_right_is_not_touched(saved_model, serving_dir, tmp_path):
    folder = OnlineFolder(Workdir(tmp_path / "run"))
    push_version(saved_model, serving_dir, 6, {})
    follow_state(folder, state_of(6, stable=6))
    before = folder.models_config.stat().st_mtime_ns
    follow_state(folder, state_of(6, stable=6))
    assert folder.models_config.stat().st_mtime_ns == before


def test_a_version_of_a_full_fit_has_no_origin(saved_model):
    assert read_origin(saved_model) is None
    (saved_model / "assets.extra").mkdir()
    (saved_model / "assets.extra" / "origin.json").write_text(json.dumps({"span": "s"}))
    assert read_origin(saved_model) == {"span": "s"}
