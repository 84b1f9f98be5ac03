"""What every page for people keeps, looked at in a real browser without a window.

A subclass of `PageRules` says by its fixture `address` which page is meant. Its tests are collected
where Chromium, Chrome or Edge is on the PATH.
"""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)
RULES = Path(__file__).with_name("page_rules.js").read_text(encoding="utf-8")
_PHONE, _DESK = 400, 1280
# The text of an A4 page between margins of 1 cm, at 96 pixels an inch.
_PAPER = 718
_CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]"


@contextmanager
def open_browser():
    """The browser of this machine."""
    with sync_playwright() as playwright:
        # Root may not use the sandbox; pages are the project's own.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visit(browser, address, *, width=_DESK, scheme="light", media="screen"):
    """The page, loaded; its attribute `noticed` lists console messages and outside requests."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.noticed = []
    page.on("console", lambda message: page.noticed.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.noticed.append(str(error)))
    own = ("file:", "data:")
    page.on("request", lambda call: call.url.startswith(own) or page.noticed.append(call.url))
    page.emulate_media(media=media)
    page.goto(address, wait_until="load")
    yield page
    context.close()


class PageRules:
    """The rules; `address` is a fixture of the subclass.

    Attributes:
        left_out: Rules of page_rules.js that this page does not keep.
    """

    __test__ = False
    left_out: frozenset[str] = frozenset()

    def __init_subclass__(cls):
        cls.__test__ = BROWSER is not None

    @pytest.fixture(scope="class")
    @classmethod
    def browser(cls):
        with open_browser() as browser:
            yield browser

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [_PHONE, _DESK])
    def test_everyone_can_read_it_on_a_screen(self, browser, address, width, scheme):
        with visit(browser, address, width=width, scheme=scheme) as page:
            self.unfold(page)
            assert self.faults(page) == {}

    # On paper the page is light, whatever the screen is.
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_all_of_it_is_on_paper(self, browser, address, scheme):
        with visit(browser, address, width=_PAPER, scheme=scheme, media="print") as page:
            assert self.faults(page) == {}
            assert page.pdf(format="A4")[:5] == b"%PDF-"

    def test_it_says_nothing_to_the_console_and_asks_nothing_of_others(self, browser, address):
        with visit(browser, address) as page:
            assert page.noticed == []

    def test_the_keyboard_reaches_every_control_and_shows_where_it_is(self, browser, address):
        with visit(browser, address) as page:
            expected = page.eval_on_selector_all(
                _CONTROLS,
                "all => all.filter(e => e.tabIndex >= 0 && e.checkVisibility()).length",
            )
            reached = set()
            for _ in range(expected):
                page.keyboard.press("Tab")
                place, outline = page.evaluate(
                    f"() => [[...document.querySelectorAll('{_CONTROLS}')]"
                    ".indexOf(document.activeElement),"
                    " getComputedStyle(document.activeElement).outlineStyle]"
                )
                assert outline != "none"
                reached.add(place)
            assert len(reached - {-1}) == expected

    def faults(self, page):
        found = page.evaluate(RULES)
        return {rule: at for rule, at in found.items() if at and rule not in self.left_out}

    @staticmethod
    def unfold(page):
        """Opens what is folded away, so that it is looked at as well."""
        page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
