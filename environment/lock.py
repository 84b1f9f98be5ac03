"""Writes requirements.txt: every package of every extra, its version and the hashes of its files.

`make lock` calls this. Versions already in the lock are kept where pyproject.toml allows them;
`make lock UPGRADE=1` takes the newest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from environment.install import ROOT, locked_requirements
from environment.relink import WHEELS

HEADER = """\
# Generated from pyproject.toml by `make lock`: do not edit. Linux on x86_64, Python 3.11.
"""


def resolve(project: Path, lock: Path, *, upgrade: bool) -> str:
    """The lock of `project` as uv resolves it, starting from the versions in `lock`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "requirements.txt")
        if lock.exists() and not upgrade:
            output.write_text(without_hashes(lock.read_text()))
        subprocess.run(
            [
                *(Path(sys.executable).with_name("uv"), "pip", "compile", project, "--quiet"),
                *("--all-extras", "--generate-hashes", "--no-header", "--no-annotate"),
                # The newest glibc the published wheels ask for; relinked ones come in below.
                *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_39"),
                *("--output-file", output),
            ],
            check=True,
        )
        return output.read_text()


def without_hashes(lock: str) -> str:
    """The versions of a lock alone: uv would keep hashes it finds, those of relinked wheels too."""
    pins = (block.split()[0] for block in locked_requirements(lock).values())
    return "".join(f"{pin}\n" for pin in pins)


def with_relinked(lock: str) -> str:
    """The lock with the hash of each relinked wheel beside that of the official one.

    Raises:
        ValueError: the lock holds another version of such a package than `relink` knows.
    """
    for wheel in WHEELS:
        official = f"    --hash=sha256:{wheel.official}"
        if lock.count(official) != 1 or f"{wheel.project}=={wheel.version} " not in lock:
            raise ValueError(
                f"the lock has another {wheel.project} than {wheel.version}:"
                " add its wheel to environment/relink.py"
            )
        lock = lock.replace(official, f"{official} \\\n    --hash=sha256:{wheel.relinked}")
    return lock


def main() -> None:
    """Rewrites requirements.txt of this checkout."""
    target = ROOT / "requirements.txt"
    resolved = resolve(
        ROOT / "pyproject.toml", target, upgrade=os.environ.get("UPGRADE", "") == "1"
    )
    target.write_text(HEADER + with_relinked(resolved))


if __name__ == "__main__":
    main()
