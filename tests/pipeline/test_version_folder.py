"""Versions of the served model: whole or not there, whatever happens while one is pushed."""

import subprocess

import pytest

from pipeline.version_folder import CHECKSUMS, new_version, next_number


def fill(folder):
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "saved_model.pb").write_bytes(b"graph")


def test_a_version_is_there_once_all_of_it_is(tmp_path):
    with new_version(str(tmp_path / "easq"), 7) as folder:
        fill(folder)
        assert not (tmp_path / "easq" / "7").exists()
    assert [path.name for path in (tmp_path / "easq").iterdir()] == ["7"]


@pytest.mark.parametrize("step", ["pipeline.version_folder.write_checksums", "os.fsync"])
def test_stopped_at_any_step_there_is_none_and_the_next_try_begins_anew(
    step, tmp_path, monkeypatch
):
    def stop(*_):
        raise OSError("No space left on device")

    def push(*more):
        with new_version(str(tmp_path), 7) as folder:
            fill(folder)
            for name in more:
                (folder / name).touch()

    with monkeypatch.context() as patched:
        patched.setattr(step, stop)
        with pytest.raises(OSError, match="No space"):
            push("of the first try")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".incoming-6").mkdir()  # as a kill leaves it
    push()
    assert [path.name for path in tmp_path.iterdir()] == ["7"]
    assert (tmp_path / "7" / "saved_model.pb").exists()
    assert not (tmp_path / "7" / "of the first try").exists()


def test_its_checksums_are_those_of_sha256sum(tmp_path):
    with new_version(str(tmp_path), 7) as folder:
        fill(folder)

    def verdict():
        command = ["sha256sum", "--check", "--quiet", CHECKSUMS]
        return subprocess.run(command, cwd=tmp_path / "7", capture_output=True, text=True)

    assert verdict().returncode == 0
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"grapf")
    assert "saved_model.pb: FAILED" in verdict().stdout


def test_a_newer_version_has_a_larger_number_though_the_clock_was_put_back(tmp_path):
    serving_dir = tmp_path / "easq"
    assert next_number(str(serving_dir), 1_700_000_000.9) == 1_700_000_000
    (serving_dir / "1700000000").mkdir(parents=True)
    (serving_dir / ".incoming-1900000000").mkdir()
    assert next_number(str(serving_dir), 1_700_000_000.9) == 1_700_000_001
    assert next_number(str(serving_dir), 1_600_000_000.0) == 1_700_000_001
    assert next_number(str(serving_dir), 1_800_000_000.0) == 1_800_000_000
    assert next_number(str(tmp_path / "none"), -5.0) == 1
