"""How the tests are shared out between processes."""

from pathlib import Path

import pytest

# Their tests look at one run of the pipeline, which is too dear to be made in every process.
_ONE_PROCESS = ("e2e",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of a file together, and those of a folder whose fixtures are dear."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        group = place.parts[0] if place.parts[0] in _ONE_PROCESS else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
