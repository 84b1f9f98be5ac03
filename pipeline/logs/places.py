"""Where logs lie: a folder of this machine, or of an object store, read alike.

A path without a scheme is local. `gs://`, `s3://`, `hdfs://` and `file://` are read through Arrow's
file systems: they come with pyarrow itself, read Parquet by ranges of bytes, and find credentials
where each cloud's own tools keep them. `s3://` is also any store that speaks its protocol (MinIO,
SeaweedFS, Ceph), with its address in the variable AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs

from pipeline.logs.errors import LogError

SCHEMES = ("gs", "s3", "hdfs", "file")
# The path within these begins with the bucket.
_BUCKETS = ("gs", "s3")


def is_remote(path: str | Path) -> bool:
    """Whether a path is a URI."""
    return "://" in str(path)


def joined(folder: str | Path, name: str) -> str:
    """The path of something inside a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there; in an object store, whether anything is in it."""
    filesystem, inside = _opened(path)
    return filesystem.get_file_info(inside).type == pa.fs.FileType.Directory


def is_file(path: str | Path) -> bool:
    """Whether a file is there."""
    filesystem, inside = _opened(path)
    return filesystem.get_file_info(inside).type == pa.fs.FileType.File


def names_in(folder: str | Path) -> tuple[list[str], list[str]]:
    """The names of the files and of the folders directly in a folder, each sorted."""
    found: dict[pa.fs.FileType, list[str]] = {pa.fs.FileType.File: [], pa.fs.FileType.Directory: []}
    filesystem, inside = _opened(folder)
    for entry in filesystem.get_file_info(pa.fs.FileSelector(inside)):
        found.setdefault(entry.type, []).append(entry.base_name)
    return sorted(found[pa.fs.FileType.File]), sorted(found[pa.fs.FileType.Directory])


def matching_files(folder: str | Path, pattern: str) -> Iterator[str]:
    """The files of a folder that match a glob, relative to the folder, in no order.

    `*`, `?` and `[…]` stand for parts of one name, `**` for any folders or none.
    """
    if is_remote(folder):
        yield from _matching(folder, "", PurePosixPath(pattern).parts)
    else:
        root = Path(folder)
        paths = (path for path in root.glob(pattern) if path.is_file())
        yield from (path.relative_to(root).as_posix() for path in paths)


def file_size(path: str | Path) -> int:
    """Bytes of a file. Raises `FileNotFoundError`."""
    filesystem, inside = _opened(path)
    size = filesystem.get_file_info(inside).size
    if size is None:
        raise FileNotFoundError(path)
    return int(size)


def open_file(path: str | Path) -> pa.NativeFile:
    """A file to read anywhere in. Raises `OSError`."""
    filesystem, inside = _opened(path)
    return filesystem.open_input_file(inside)


def open_stream(path: str | Path) -> pa.NativeFile:
    """A file to read from its beginning, unzipped where its name says so. Raises `OSError`."""
    filesystem, inside = _opened(path)
    return filesystem.open_input_stream(inside, compression="detect")


def _matching(folder: str | Path, under: str, parts: tuple[str, ...]) -> Iterator[str]:
    wanted, deeper = parts[0], parts[1:]
    files, folders = names_in(joined(folder, under) if under else folder)
    if wanted == "**":
        if deeper:
            yield from _matching(folder, under, deeper)
        for name in folders:
            yield from _matching(folder, f"{under}{name}/", parts)
    elif deeper:
        for name in folders:
            if fnmatchcase(name, wanted):
                yield from _matching(folder, f"{under}{name}/", deeper)
    else:
        yield from (f"{under}{name}" for name in files if fnmatchcase(name, wanted))


def _opened(path: str | Path) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a path, and the path within it."""
    scheme, uri, rest = str(path).partition("://")
    if not uri:
        return _file_system(""), str(path)
    if scheme not in SCHEMES:
        raise LogError(
            str(path),
            f"logs cannot be read from {scheme}://",
            f"give a folder, or one that begins with {', '.join(f'{name}://' for name in SCHEMES)}",
        )
    authority, _, inside = rest.rstrip("/").partition("/")
    filesystem = _file_system(f"{scheme}://{authority}{'' if scheme in _BUCKETS else '/'}")
    return filesystem, f"{authority}/{inside}" if scheme in _BUCKETS else f"/{inside}"


@functools.cache
def _file_system(uri: str) -> pa.fs.FileSystem:
    """Connected to once a process: a bucket's region is looked up over the network."""
    return pa.fs.FileSystem.from_uri(uri)[0] if uri else pa.fs.LocalFileSystem()
