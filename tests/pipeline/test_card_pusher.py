"""The push of a model at the end of a run."""

import json

import pytest
from tfx.types.standard_artifacts import PushedModel
from tfx.types.standard_component_specs import PUSH_DESTINATION_KEY, PUSHED_MODEL_KEY
from tfx.utils import io_utils

from pipeline import card_pusher


@pytest.fixture
def push(tmp_path, monkeypatch):
    """Pushes a blessed model into `serving`."""
    model, artifact = tmp_path / "model", PushedModel()
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    artifact.uri = str(tmp_path / "pushed")
    pusher = card_pusher._Executor()
    monkeypatch.setattr(pusher, "CheckBlessing", lambda _: True)
    monkeypatch.setattr(pusher, "GetModelPath", lambda _: str(model))
    monkeypatch.setattr(pusher, "_card", lambda *_: {})
    monkeypatch.setattr(card_pusher, "write_card", lambda *_: None)
    destination = {"filesystem": {"base_directory": str(tmp_path / "serving")}}
    settings = {PUSH_DESTINATION_KEY: json.dumps(destination)}

    def run():
        pusher.Do({}, {PUSHED_MODEL_KEY: [artifact]}, settings)
        return artifact

    return run


def test_the_artifact_names_the_version_that_servers_see(push, tmp_path):
    artifact = push()
    (version,) = (tmp_path / "serving").iterdir()
    assert artifact.get_string_custom_property("pushed_version") == version.name
    for folder in (version, tmp_path / "pushed"):
        assert (folder / "saved_model.pb").read_bytes() == b"graph"


def test_tried_again_on_a_full_disk_it_does_not_push_a_version_each_time(
    push, tmp_path, monkeypatch
):
    copy_dir = io_utils.copy_dir

    def copy_dir_but_the_artifact(source, target):
        if target == str(tmp_path / "pushed"):
            raise OSError("No space left on device")
        copy_dir(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(io_utils, "copy_dir", copy_dir_but_the_artifact)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                push()
    assert list((tmp_path / "serving").iterdir()) == []
    push()
    assert len(list((tmp_path / "serving").iterdir())) == 1
