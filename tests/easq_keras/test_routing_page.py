"""The tables of docs/library/routing.md are those of the presets."""

import re
from pathlib import Path

import pytest

from tests.easq_keras.models.small import easq

PAGE = (Path(__file__).parents[2] / "docs" / "library" / "routing.md").read_text()


def table_on_page(preset: str) -> dict[str, dict[str, bool]]:
    """The first table after the preset's heading, as `routing_table` returns it."""
    section = re.split(rf"^## `{preset}`$", PAGE, flags=re.M)[1]
    table = re.search(r"(^\|.*\n)+", section, flags=re.M)
    assert table
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[0].splitlines()]
    head, _, *body = rows
    return {
        loss: {part: cell == "yes" for part, cell in zip(head[1:], cells, strict=True)}
        for loss, *cells in body
    }


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_the_page_shows_the_table_of_the_model(preset: str) -> None:
    assert table_on_page(preset) == easq(preset).routing_table()
