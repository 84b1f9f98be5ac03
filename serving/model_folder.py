"""Checks a version folder before TensorFlow reads it."""

from __future__ import annotations

import hashlib
import os
import re

import grpc

from serving.errors import ServingError

# Protocol buffers end at 2 GiB; a larger saved_model.pb is not one.
_MAX_GRAPH_BYTES = 2**31 - 1
# What `sha256sum` prints of a version's files, where whoever pushed it left that beside them.
CHECKSUMS = "assets.extra/SHA256SUMS"


def check_model_folder(path: str) -> None:
    """Refuse a version folder whose files lead out of it, cannot be a model or are damaged.

    The version folder itself may be a link, as deployments make them; a link inside it must stay
    inside it or beside it under the same base path.

    Raises:
        ServingError: PERMISSION_DENIED for a file that leads elsewhere or cannot be read,
            INVALID_ARGUMENT for a graph file too large to be one, DATA_LOSS for a file that is not
            what `CHECKSUMS` says, where there is one.
    """
    roots = (os.path.realpath(path), os.path.realpath(os.path.dirname(path)))
    for folder, subfolders, files in os.walk(path, onerror=_raise):
        for name in subfolders + files:
            entry = os.path.join(folder, name)
            if os.path.islink(entry):
                target = os.path.realpath(entry)
                if not any(os.path.commonpath([root, target]) == root for root in roots):
                    raise ServingError(
                        grpc.StatusCode.PERMISSION_DENIED,
                        f"{entry} is a link that leads out of the model's folder, to {target}; "
                        "copy the file into the version folder",
                    )
    graph = os.path.join(path, "saved_model.pb")
    if os.path.isfile(graph) and os.path.getsize(graph) > _MAX_GRAPH_BYTES:
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{graph} has {os.path.getsize(graph)} bytes; a SavedModel's graph has at most "
            f"{_MAX_GRAPH_BYTES}",
        )
    if os.path.exists(os.path.join(path, CHECKSUMS)):
        _check_sums(path)


def _check_sums(path: str) -> None:
    """Compare the files that are listed; those that came later are not looked at."""
    sums = os.path.join(path, CHECKSUMS)
    try:
        with open(sums, "rb") as listed:
            lines = listed.read().decode("utf-8").splitlines()
        for line in lines:
            found = re.fullmatch(r"([0-9a-f]{64})  ([^/\0][^\0]*)", line)
            if found is None or ".." in found[2].split("/"):
                raise _damaged(f"{sums} has a line that is no checksum and file: {line[:80]!r}")
            with open(os.path.join(path, found[2]), "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != found[1]:
                    raise _damaged(f"{file.name} is not the file that was pushed, by {CHECKSUMS}")
    except FileNotFoundError as error:
        raise _damaged(f"{error.filename} was pushed, by {CHECKSUMS}, and is absent") from error
    except UnicodeDecodeError as error:
        raise _damaged(f"{sums} is no text") from error
    except OSError as error:
        _raise(error)


def _damaged(what: str) -> ServingError:
    return ServingError(grpc.StatusCode.DATA_LOSS, f"{what}; push the version again")


def _raise(error: OSError) -> None:
    raise ServingError(
        grpc.StatusCode.PERMISSION_DENIED, f"{error.filename} cannot be read: {error.strerror}"
    ) from error
