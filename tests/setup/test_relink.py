"""The relinked wheel: same bytes everywhere, true metadata, and only from files that are known."""

import base64
import csv
import hashlib
import io
import zipfile

import pytest

from environment import relink
from environment.elf import make_loadable
from environment.relink import RelinkError, Wheel, relinked_bytes
from tests.setup.tiny_shared_object import Use, tiny_shared_object

EXTENSION = tiny_shared_object([Use("__isoc23_strtoul", "GLIBC_2.38")])
WHEEL_FILE = b"Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_39_x86_64\n"


def official_wheel(*, moment=(2026, 3, 1, 12, 0, 0), compression=zipfile.ZIP_DEFLATED) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", compression) as archive:
        for name, data, mode in (
            ("tiny/__init__.py", b"from tiny import _tiny\n", 0o100644),
            ("tiny/_tiny.so", EXTENSION, 0o100755),
            ("tiny-1.0.dist-info/WHEEL", WHEEL_FILE, 0o100644),
            ("tiny-1.0.dist-info/RECORD", b"tiny/__init__.py,sha256=old,22\n", 0o100644),
        ):
            member = zipfile.ZipInfo(name, moment)
            member.external_attr = mode << 16
            archive.writestr(member, data, compression)
    return output.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def tiny(tmp_path):
    """The tiny official wheel on disk, and the entry that knows it."""
    data = official_wheel()
    path = tmp_path / "tiny-1.0-cp311-cp311-manylinux_2_39_x86_64.whl"
    path.write_bytes(data)
    return path, Wheel("tiny", "1.0", official=sha256(data), relinked=sha256(relinked_bytes(data)))


def test_only_the_extension_the_tag_and_the_record_differ():
    with zipfile.ZipFile(io.BytesIO(relinked_bytes(official_wheel()))) as archive:
        assert archive.read("tiny/__init__.py") == b"from tiny import _tiny\n"
        assert archive.read("tiny/_tiny.so") == make_loadable(EXTENSION)
        assert b"Tag: cp311-cp311-manylinux_2_34_x86_64\n" in archive.read(
            "tiny-1.0.dist-info/WHEEL"
        )
        assert archive.getinfo("tiny/_tiny.so").external_attr >> 16 == 0o100755


def test_the_record_lists_every_file_with_its_hash_and_size():
    with zipfile.ZipFile(io.BytesIO(relinked_bytes(official_wheel()))) as archive:
        record = list(csv.reader(archive.read("tiny-1.0.dist-info/RECORD").decode().splitlines()))
        files = {name: archive.read(name) for name in archive.namelist()}

    assert {name for name, _, _ in record} == set(files)
    for name, digest, size in record:
        if name.endswith("RECORD"):
            assert (digest, size) == ("", "")
        else:
            expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest())
            assert digest == f"sha256={expected.decode().rstrip('=')}"
            assert int(size) == len(files[name])


def test_neither_the_moment_nor_the_compression_matters():
    stored_later = official_wheel(moment=(2031, 1, 1, 0, 0, 0), compression=zipfile.ZIP_STORED)

    assert relinked_bytes(official_wheel()) == relinked_bytes(stored_later)


def test_a_known_wheel_is_relinked_under_the_name_installers_look_for(tiny, tmp_path):
    path, known = tiny

    made = relink.relink(path, tmp_path / "relinked", [known])

    assert made.name == "tiny-1.0-cp311-cp311-manylinux_2_34_x86_64.whl"
    assert sha256(made.read_bytes()) == known.relinked
    assert list(made.parent.iterdir()) == [made]


def test_a_wheel_of_unknown_hash_is_refused(tiny, tmp_path):
    path, known = tiny
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(RelinkError, match="not a known wheel"):
        relink.relink(path, tmp_path / "relinked", [known])
    assert not (tmp_path / "relinked").exists()


def test_a_result_of_another_hash_is_refused(tiny, tmp_path):
    path, known = tiny
    other = Wheel(known.project, known.version, known.official, relinked="0" * 64)

    with pytest.raises(RelinkError, match="relinking gave SHA-256"):
        relink.relink(path, tmp_path / "relinked", [other])
    assert not (tmp_path / "relinked").exists()


@pytest.mark.parametrize(
    ("glibc", "needed"),
    [("2.34", True), ("2.36", True), ("2.38", True), ("2.39", False), ("2.41", False)],
)
def test_relinking_is_for_older_glibc_only(monkeypatch, glibc, needed):
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", glibc))

    assert relink.needed() is needed


def test_another_c_library_is_refused(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))

    with pytest.raises(RelinkError, match="glibc is needed"):
        relink.needed()
