"""Makes wheels for older Linux systems of two that are published for glibc 2.39 and newer only.

ml-metadata and tensorflow-data-validation each hold one shared object that names a handful of
symbols of newer system libraries (see `elf`). A relinked wheel is the official one, known by its
hash, with these symbols bound to older ones, the platform tag changed and RECORD brought up to
date. The same input gives the same bytes on every machine, so that the lock can list both hashes.
"""

import base64
import csv
import hashlib
import io
import os
import platform
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from environment.elf import make_loadable

OFFICIAL_TAG = "manylinux_2_39_x86_64"
# What the relinked objects need: glibc 2.34, and the libstdc++ of GCC 11 (elf.NEWEST_LEFT).
RELINKED_TAG = "manylinux_2_34_x86_64"
OFFICIAL_GLIBC = (2, 39)


@dataclass(frozen=True)
class Wheel:
    """A wheel to relink.

    Args:
        project: its name on the package index.
        version: its version.
        official: SHA-256 of the published wheel.
        relinked: SHA-256 of the wheel made of it.
    """

    project: str
    version: str
    official: str
    relinked: str

    @property
    def requirement(self) -> str:
        """The line for pip that fetches the published wheel and no other file."""
        return f"{self.project}=={self.version} --hash=sha256:{self.official}"

    def file_name(self, tag: str) -> str:
        """The wheel's file name for a platform."""
        return f"{self.project.replace('-', '_')}-{self.version}-cp311-cp311-{tag}.whl"


WHEELS = (
    Wheel(
        project="ml-metadata",
        version="1.21.0",
        official="ad35b9462ce1971d3ca1bc672c36abf2494a738410fa3ac3519131274ea5ae9b",
        relinked="c92f251e49926ac3e1a4313f7f6f50791645428d149c44b1a5a442fd43425d96",
    ),
    Wheel(
        project="tensorflow-data-validation",
        version="1.21.0",
        official="6c148be69ae20c02f58b696efb343c4bb3e923184963f8b793afd0066c8ced9f",
        relinked="f933276633a08802b08aa584e9450359532417bdaf4a6e02f085a23f24fe55ad",
    ),
)


class RelinkError(RuntimeError):
    """A wheel is not the one expected."""


def needed() -> bool:
    """Whether this machine's glibc is too old for the published wheels."""
    library, version = platform.libc_ver()
    if library != "glibc":
        raise RelinkError(f"glibc is needed, found {library or 'another C library'}")
    return tuple(map(int, version.split(".")[:2])) < OFFICIAL_GLIBC


def relink(official: Path, folder: Path, wheels: Iterable[Wheel] = WHEELS) -> Path:
    """Makes the relinked wheel of an official one.

    Args:
        official: the published wheel.
        folder: where the relinked wheel goes; it appears there whole or not at all.
        wheels: the wheels that are known.

    Returns:
        The relinked wheel.

    Raises:
        RelinkError: the hash of the official wheel, or of the result, is not a known one.
        ElfError: a shared object in it cannot be made to load.
    """
    data = official.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    wheel = next((known for known in wheels if known.official == digest), None)
    if wheel is None:
        raise RelinkError(f"{official.name}: not a known wheel (its SHA-256 is {digest})")
    relinked = relinked_bytes(data)
    digest = hashlib.sha256(relinked).hexdigest()
    if digest != wheel.relinked:
        raise RelinkError(
            f"{official.name}: relinking gave SHA-256 {digest}, expected {wheel.relinked}"
        )
    target = folder / wheel.file_name(RELINKED_TAG)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    unfinished.write_bytes(relinked)
    os.replace(unfinished, target)
    return target


def relinked_bytes(official: bytes) -> bytes:
    """The relinked wheel of an official one, as bytes.

    Files are stored uncompressed and dated 1980, so that neither the version of zlib nor the
    moment matters.
    """
    with zipfile.ZipFile(io.BytesIO(official)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist() if not info.is_dir()]
    contents = {info.filename: _relinked_member(info.filename, data) for info, data in members}
    record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
    contents[record] = _record(record, contents)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for info, _ in members:
            member = zipfile.ZipInfo(info.filename, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = info.external_attr
            archive.writestr(member, contents[info.filename])
    return output.getvalue()


def _relinked_member(name: str, data: bytes) -> bytes:
    if name.endswith(".so"):
        return make_loadable(data)
    if name.endswith(".dist-info/WHEEL"):
        return data.replace(OFFICIAL_TAG.encode(), RELINKED_TAG.encode())
    return data


def _record(record: str, contents: dict[str, bytes]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, data in contents.items():
        if name == record:
            writer.writerow([name, "", ""])
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={digest}", len(data)])
    return text.getvalue().encode()
