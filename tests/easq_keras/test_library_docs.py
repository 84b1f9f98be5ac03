"""The examples of docs/library run and print what they say, and its links lead somewhere."""

import doctest
import re
from pathlib import Path

import keras
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "library"
PAGES = sorted(FOLDER.glob("*.md"))
LAYERS = ["feature-embedding", "slate-encoder", "lora-layer", "relu-moe", "top-k-moe"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_print_what_they_say(page: Path) -> None:
    keras.utils.set_random_seed(0)
    blocks = re.findall(r"```python\n(>>> .*?)```", page.read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(block, names, f"{page.stem}:{number}", None, 0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        runner.run(test, clear_globs=False)
        names.update(test.globs)
        assert runner.failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_pages_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (FOLDER / t).exists()]
    assert missing == []


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_a_page_with_an_example(name: str) -> None:
    assert ">>> " in (FOLDER / f"{name}.md").read_text()
