"""Writes docs/licences.md: under what licence each package of the lock is.

    python docs/licences.py

What a package says of itself is taken from its installed metadata. The command fails where one says
nothing, or asks for more than notices: everything may then be used and passed on with this project.
"""

import importlib.metadata
import re
import sys
from collections import Counter
from dataclasses import dataclass

from environment.install import ROOT, locked_requirements

PAGE = ROOT / "docs" / "licences.md"

# Packages whose metadata names no licence, and where it was read instead.
READ_ELSEWHERE = {
    "namex": "Apache-2.0 (its file LICENSE)",
}
# Whole words of the licences that ask for notices at most, or for the changes of their own files.
ACCEPTED = {
    "Apache": r"apache",
    "BSD": r"bsd|0bsd",
    "MIT": r"mit|mit-0|mit-cmu",
    "ISC": r"isc|iscl",
    "PSF": r"psf|psfl|psf-2\.0|python software foundation|cnri-python",
    "MPL": r"mpl|mpl-2\.0|mozilla public license",
    "Zlib": r"zlib",
    "public domain": r"cc0|cc0-1\.0|unlicense",
}
REFUSED = (
    r"(?<![a-z])(a|l)?gpl|general public|affero|sspl|server side public|busl|business source"
    r"|commons clause|proprietary|non-?commercial|cc-by-nc"
)


@dataclass(frozen=True)
class Licence:
    """A package of the lock: its project name, version, and what it says of its licence."""

    project: str
    version: str
    said: str

    @property
    def families(self) -> tuple[str, ...]:
        """Those of `ACCEPTED` that are named."""
        text = self.said.lower()
        return tuple(
            name
            for name, words in ACCEPTED.items()
            if re.search(rf"(?<![a-z0-9])({words})(?![a-z])", text)
        )

    @property
    def accepted(self) -> bool:
        """Whether it names a licence that is accepted and none that is refused."""
        return bool(self.families) and not re.search(REFUSED, self.said.lower())


def licence_of(project: str, version: str) -> Licence:
    """The licence of an installed package.

    Raises:
        LookupError: it is not installed in the version of the lock.
    """
    found = importlib.metadata.distribution(project)
    if found.version != version:
        raise LookupError(f"{project} {found.version} is installed, {version} is locked")
    if project in READ_ELSEWHERE:
        return Licence(project, version, READ_ELSEWHERE[project])
    metadata = found.metadata
    expression = metadata.get("License-Expression")
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: OSI Approved :: ")
    ]
    lines = (metadata.get("License") or "").strip().splitlines()
    said = expression or ", ".join(classifiers) or (lines[0] if lines else "not said")
    return Licence(project, version, said.strip())


def locked_licences() -> list[Licence]:
    """The licences of all packages of the lock. Raises `LookupError`."""
    lock = locked_requirements((ROOT / "requirements.txt").read_text())
    return [
        licence_of(project, block.split()[0].partition("==")[2])
        for project, block in sorted(lock.items())
    ]


def page(licences: list[Licence]) -> str:
    """The text of docs/licences.md."""
    families = Counter(family for licence in licences for family in licence.families)
    counted = ", ".join(f"{family} {number}" for family, number in families.most_common())
    lines = [
        "# Licences",
        "",
        "This project is under the Apache License 2.0. It is installed with the packages below,",
        "each as its publisher says in its metadata. A test fails where one names no licence, or",
        "one that asks for more than notices, or for the source of changes to its own files (MPL).",
        "",
        f"{len(licences)} packages: {counted} (some name several).",
        "Written by `python docs/licences.py`.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *(f"| {one.project} | {one.version} | {one.said} |" for one in licences),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page; the exit code is 1 where a licence is not accepted."""
    licences = locked_licences()
    PAGE.write_text(page(licences), encoding="utf-8")
    refused = [one for one in licences if not one.accepted]
    for one in refused:
        print(f"{one.project} {one.version}: {one.said}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
