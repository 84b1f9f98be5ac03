"""The quick start does in 25 lines what it says, and prints what the page shows."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "library" / "quickstart.md").read_text()
CODE, OUTPUT = re.findall(r"```(?:python|text)\n(.*?)```", PAGE, flags=re.DOTALL)


def figures(printed: str) -> dict[str, float]:
    """`EMER watched` → its NDCG, and so on."""
    return {
        name: float(value) for name, value in re.findall(r"^(\w+ \w+) ([\d.]+)$", printed, re.M)
    }


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, float]:
    printed: list[str] = []
    exec(compile(CODE, "quickstart.md", "exec"), {"print": printed.append})
    return figures("\n".join(printed))


def test_it_has_25_lines() -> None:
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 25


def test_satisfaction_rises_while_behaviour_holds(found: dict[str, float]) -> None:
    assert found["EASQ satisfied"] > found["EMER satisfied"] + 0.04
    assert found["EASQ watched"] > found["EMER watched"] - 0.03


def test_the_page_shows_what_it_prints(found: dict[str, float]) -> None:
    # Machines add up in different orders, and a thousand steps carry that far.
    assert figures(OUTPUT) == pytest.approx(found, abs=0.04)
