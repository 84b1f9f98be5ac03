"""Version folders with checksums beside the model: what is damaged is refused by its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import pytest

from serving.errors import ServingError
from serving.model_folder import CHECKSUMS, check_model_folder


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "7"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    digest = hashlib.sha256(b"graph").hexdigest()
    (folder / CHECKSUMS).write_text(f"{digest}  saved_model.pb\n")
    return folder


def refusal(version: Path) -> ServingError:
    with pytest.raises(ServingError) as refused:
        check_model_folder(str(version))
    return refused.value


def test_what_was_pushed_is_let_through_and_so_is_what_came_later(version: Path) -> None:
    check_model_folder(str(version))
    (version / "assets.extra" / "model_card.html").write_text("later")
    check_model_folder(str(version))


@pytest.mark.parametrize("content", [b"grapi", b"grap", b""])
def test_a_changed_file_is_refused_by_name(version: Path, content: bytes) -> None:
    (version / "saved_model.pb").write_bytes(content)
    error = refusal(version)
    assert error.code == grpc.StatusCode.DATA_LOSS
    assert f"{version}/saved_model.pb is not the file that was pushed" in str(error)
    assert "push the version again" in str(error)


def test_an_absent_file_is_refused_by_name(version: Path) -> None:
    (version / "saved_model.pb").unlink()
    assert "saved_model.pb was pushed" in str(refusal(version))


@pytest.mark.parametrize(
    "line", [b"no digest", b"\xff\xfe", b"0" * 64 + b"  ../../etc/passwd", b"0" * 64 + b"  a\0b"]
)
def test_checksums_that_are_damaged_are_refused(version: Path, line: bytes) -> None:
    (version / CHECKSUMS).write_bytes(line)
    assert f"{version}/{CHECKSUMS}" in str(refusal(version))
