"""Which versions of a model should be loaded: numeric folders under its base path, by policy."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

_LARGEST_VERSION = 2**63 - 1


def list_versions(base_path: str) -> dict[int, str]:
    """The version folders under a base path.

    Returns:
        Folder paths by version number. Other folders (a copy in progress under a dotted name)
        and files are not versions.

    Raises:
        OSError: the base path cannot be listed.
    """
    found: dict[int, str] = {}
    for name in sorted(os.listdir(base_path)):
        path = os.path.join(base_path, name)
        if not re.fullmatch(r"[0-9]+", name) or int(name) > _LARGEST_VERSION:
            continue
        if not os.path.isdir(path):
            continue
        version = int(name)
        if version in found:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, "
                "path %s will be ignored",
                version,
                found[version],
                path,
            )
            continue
        found[version] = path
    return found


def choose_versions(found: Mapping[int, str], policy: Any, model: str) -> dict[int, str]:
    """The versions a `ServableVersionPolicy` wants of those found.

    Args:
        found: folder paths by version number.
        policy: `FileSystemStoragePathSourceConfig.ServableVersionPolicy`; an empty one means the
            latest version alone.
        model: the model's name, for the warning about a specific version that is not there.
    """
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return dict(found)
    if choice == "specific":
        chosen = {}
        for version in policy.specific.versions:
            if version in found:
                chosen[version] = found[version]
            else:
                log.warning(
                    "Version %d of servable %s, which was requested to be served as a 'specific' "
                    "version in the servable's version policy, was not found in the file system",
                    version,
                    model,
                )
        return chosen
    count = max(policy.latest.num_versions, 1)
    return {version: found[version] for version in sorted(found)[-count:]}
