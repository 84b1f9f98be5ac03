"""The model to beat is the newest whole version in the serving folder."""

from tfx.types import standard_artifacts

from pipeline.kubeflow.last_pushed import LastPushedModel


def last_pushed(serving_dir, folder):
    model = standard_artifacts.Model()
    model.uri = str(folder / "model")
    component = LastPushedModel(serving_dir=str(serving_dir))
    executor = component.executor_spec.executor_class()
    executor.Do({}, {"model": [model]}, component.exec_properties)
    return model, folder / "model" / "Format-Serving"


def push(serving_dir, version, *, whole=True):
    (serving_dir / version / "variables").mkdir(parents=True)
    (serving_dir / version / "variables" / "variables.index").write_text(version)
    if whole:
        (serving_dir / version / "saved_model.pb").write_text(version)


def test_the_newest_by_number_that_is_whole(tmp_path):
    for version in ("9", "10", "2"):
        push(tmp_path / "models", version)
    push(tmp_path / "models", "11", whole=False)
    (tmp_path / "models" / "notes").mkdir()
    model, copied = last_pushed(tmp_path / "models", tmp_path)
    assert (copied / "saved_model.pb").read_text() == "10"
    assert (copied / "variables" / "variables.index").read_text() == "10"
    assert model.get_string_custom_property("pushed_version") == "10"


def test_nothing_was_pushed_yet(tmp_path):
    model, copied = last_pushed(tmp_path / "models", tmp_path)
    assert not copied.exists()
    assert not model.has_custom_property("pushed_version")
