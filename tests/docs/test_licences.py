"""The licences of what is installed: all listed, all known, none that asks for too much."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "docs" / "licences.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["licences"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def test_the_page_lists_every_locked_package_with_its_version(licences) -> None:
    found = licences.locked_licences()
    assert len(found) > 200
    # If this fails: python docs/licences.py
    assert (ROOT / "docs" / "licences.md").read_text(encoding="utf-8") == licences.page(found)


def test_every_licence_is_known_and_accepted(licences) -> None:
    assert [one for one in licences.locked_licences() if not one.accepted] == []


@pytest.mark.parametrize(
    "said",
    [
        "GPL-3.0-only",
        "GNU General Public License v2 (GPLv2)",
        "LGPL-2.1",
        "AGPL-3.0",
        "MIT AND GPL-2.0",
        "SSPL-1.0",
        "BUSL-1.1",
        "Apache-2.0 with Commons Clause",
        "Proprietary",
        "not said",
        "",
    ],
)
def test_what_asks_for_more_or_says_nothing_is_refused(licences, said: str) -> None:
    assert not licences.Licence("x", "1", said).accepted


@pytest.mark.parametrize(
    ("said", "families"),
    [
        ("BSD-3-Clause AND 0BSD AND MIT", ("BSD", "MIT")),
        ("Apache-2.0 OR BSD-2-Clause", ("Apache", "BSD")),
        ("MIT-CMU", ("MIT",)),
        ("Mozilla Public License 2.0 (MPL 2.0)", ("MPL",)),
        ("limited summit", ()),
    ],
)
def test_families_are_whole_words(licences, said: str, families: tuple[str, ...]) -> None:
    assert licences.Licence("x", "1", said).families == families
