"""What a run's settings do not say and its repetition needs: code, packages, machine, data."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import easq_keras
import pipeline


def environment() -> dict[str, Any]:
    """The code and everything under it.

    `code_sha256` is that of the sources of `easq_keras` and `pipeline`, whatever release or commit
    they are of. `packages` holds every distribution that is installed. The same weights come out on
    the same kind of `processor` and the same number of `cores` only: they decide in which order
    numbers are added up.
    """
    roots = [Path(str(package.__file__)).parent for package in (easq_keras, pipeline)]
    sources = (path for root in roots for path in root.rglob("*.py"))
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "code_sha256": digest_of(sources, roots[0].parent),
        "packages": dict(
            sorted(
                {one.metadata["Name"]: one.version for one in metadata.distributions()}.items(),
                key=lambda package: package[0].lower(),
            )
        ),
    }


def examples_digest(examples: Path) -> str:
    """Of all record files of an Examples artifact: the same for the same data, byte for byte."""
    return digest_of(examples.glob("Split-*/*"), examples)


def digest_of(paths: Iterable[Path], root: Path) -> str:
    """SHA-256 of files: of the lines that `sha256sum` would print of them, sorted by name."""
    lines = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append((path.relative_to(root).as_posix(), digest))
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
