"""requirements.txt holds all that pyproject.toml asks for, pinned by hash, and is installed."""

import importlib.metadata
import subprocess
import sys
import sysconfig
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from environment.install import BUILD_TOOLS, ROOT, locked_requirements
from environment.lock import with_relinked, without_hashes
from environment.relink import WHEELS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.txt").read_text()
LOCKED = locked_requirements(LOCK)
ASKED = [
    Requirement(text)
    for text in (
        *PROJECT["project"]["dependencies"],
        *(line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines),
        *PROJECT["build-system"]["requires"],
        *PROJECT["tool"]["uv"]["override-dependencies"],
    )
]


def locked_version(name: str) -> str:
    return LOCKED[name].split("==")[1].split()[0]


@pytest.mark.parametrize("requirement", ASKED, ids=str)
def test_every_requirement_is_locked_to_a_version_it_allows(requirement):
    assert requirement.specifier.contains(locked_version(canonicalize_name(requirement.name)))


def test_every_package_is_pinned_with_hashes():
    for name, requirement in LOCKED.items():
        first, *hashes = requirement.splitlines()
        assert first.startswith(f"{name}==")
        assert hashes, f"{name} has no hash"
        assert all(line.strip().startswith("--hash=sha256:") for line in hashes), name
        assert len({line.strip(" \\") for line in hashes}) == len(hashes), f"{name} repeats a hash"


def test_what_is_installed_is_what_is_locked():
    locked = {name: locked_version(name) for name in LOCKED}
    # Not all of sys.path: setuptools adds a folder of packages that it brings along.
    site_packages = sysconfig.get_path("purelib")
    installed = {
        canonicalize_name(package.name): package.version
        for package in importlib.metadata.distributions(path=[site_packages])
    }
    installed.pop("easq-keras")

    assert installed == locked


def test_the_tools_that_the_set_up_installs_first_are_locked():
    assert set(BUILD_TOOLS) <= set(LOCKED)


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.project)
def test_both_the_official_and_the_relinked_wheel_are_accepted(wheel):
    assert locked_version(wheel.project) == wheel.version
    assert f"--hash=sha256:{wheel.official}" in LOCKED[wheel.project]
    assert f"--hash=sha256:{wheel.relinked}" in LOCKED[wheel.project]


def test_the_installed_packages_fit_together_but_for_the_one_override():
    """The override: see tool.uv in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
    )

    complaints = done.stdout.splitlines()
    assert [line.split(" has requirement ")[0] for line in complaints] == [
        "tensorflow-data-validation 1.21.0"
    ]
    assert "pyfarmhash" in complaints[0]


def test_a_lock_of_another_version_of_a_relinked_package_is_refused():
    newer = LOCK.replace("ml-metadata==1.21.0", "ml-metadata==1.22.0")

    with pytest.raises(ValueError, match=r"another ml-metadata than 1\.21\.0"):
        with_relinked(newer)


def test_relinked_hashes_are_added_beside_the_official_ones():
    resolved = "".join(
        f"{wheel.project}=={wheel.version} \\\n    --hash=sha256:{wheel.official}\n"
        for wheel in WHEELS
    )

    expected = "".join(
        f"{wheel.project}=={wheel.version} \\\n"
        f"    --hash=sha256:{wheel.official} \\\n"
        f"    --hash=sha256:{wheel.relinked}\n"
        for wheel in WHEELS
    )
    assert with_relinked(resolved) == expected


def test_a_new_lock_starts_from_the_versions_of_the_old_one_and_not_from_its_hashes():
    old = "absl-py==1.4.0 \\\n    --hash=sha256:0d\npip==26 \\\n    --hash=sha256:1\n"

    assert without_hashes(old) == "absl-py==1.4.0\npip==26\n"
