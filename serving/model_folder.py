"""Checks a version folder before TensorFlow reads it."""

from __future__ import annotations

import os

import grpc

from serving.errors import ServingError

# Protocol buffers end at 2 GiB; a larger saved_model.pb is not one.
_MAX_GRAPH_BYTES = 2**31 - 1


def check_model_folder(path: str) -> None:
    """Refuse a version folder whose files lead out of it or cannot be a model.

    The version folder itself may be a link, as deployments make them; a link inside it must stay
    inside it or beside it under the same base path.

    Raises:
        ServingError: PERMISSION_DENIED for a file that leads elsewhere or cannot be read,
            INVALID_ARGUMENT for a graph file too large to be one.
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


def _raise(error: OSError) -> None:
    raise ServingError(
        grpc.StatusCode.PERMISSION_DENIED, f"{error.filename} cannot be read: {error.strerror}"
    ) from error
