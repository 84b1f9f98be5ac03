"""The documentation site: every link leads somewhere, and it asks nothing of another server."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import easq_keras
from tests.page_rules import PageRules

ROOT = Path(__file__).resolve().parents[2]
# What a browser fetches by itself, by element.
_FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    # Strict: a link to nowhere, a page in no menu or a name without a docstring fails the build.
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


class _Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("stylesheet", "icon", "preload"):
            return
        if tag in _FETCHED and given.get(_FETCHED[tag]):
            self.found.append(given[_FETCHED[tag]])


def test_nothing_is_fetched_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        fetched = _Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        assert fetched.found, page
        outside = [place for place in fetched.found if re.match(r"(https?:)?//", place)]
        assert outside == [], page.name


@pytest.mark.parametrize("module", ["layers", "losses", "metrics", "models"])
def test_every_public_name_of_the_library_has_its_place(site, module):
    page = (site / "api" / f"{module}.html").read_text(encoding="utf-8")
    for name in getattr(easq_keras, module).__all__:
        # A function that has its module's name is listed as a member of the module.
        places = (f"easq_keras.{module}.{name}", f"easq_keras.{module}.{name}.{name}")
        assert any(f'id="{place}"' in page for place in places), name


def test_a_linked_file_of_the_repository_is_there(site):
    page = (site / "bring-your-own-logs.html").read_text(encoding="utf-8")
    assert 'href="files/pipeline/logs/datasets/simulated.yaml"' in page
    assert (site / "files/pipeline/logs/datasets/simulated.yaml").is_file()


def test_pages_from_elsewhere_link_to_pages(site):
    page = (site / "experiments.html").read_text(encoding="utf-8")
    assert 'href="benchmarks.html"' in page


class TestPageOfTheSite(PageRules):
    """In a browser, from disk: an API page, and a notebook with its pictures."""

    # The theme names its icons by labels beside them, Markdown gives header cells no scope, and
    # browsers let the keyboard scroll what scrolls.
    left_out = frozenset({"unnamed", "header cells without scope", "scrolls, but not by keyboard"})
    # Where the keyboard is, the theme shows in its own ways.
    test_the_keyboard_reaches_every_control_and_shows_where_it_is = None

    @pytest.fixture(scope="class", params=["api/layers.html", "examples/story.html"])
    @classmethod
    def address(cls, request, site):
        return (site / request.param).as_uri()
