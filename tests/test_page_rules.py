"""The rules for pages find what they are there to find."""

import pytest

from tests.page_rules import BROWSER, RULES, open_browser, visit

FAULTY = """<!doctype html><title>faulty</title>
<h1>Title</h1><h3>Skipped a level</h3>
<p style="color: #999; background: #fff">pale</p>
<p style="color: rgb(0 0 0 / 40%)">transparent ink</p>
<p style="color: #888; font-size: 24px">large enough for a ratio of 3</p>
<svg aria-hidden="true" viewBox="0 0 200 20" width="100"><text y="9" font-size="9">tiny</text></svg>
<img src="data:,"><a href="#x"></a>
<table><tr><th>head</th></tr></table><i id="x"></i><i id="x"></i>
<div style="width: 100px; overflow-x: auto"><pre style="width: 300px; margin: 0">wide</pre></div>
<div style="width: 2000px">too wide</div>
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "faulty.html"
    file.write_text(FAULTY, encoding="utf-8")
    with open_browser() as browser, visit(browser, file.as_uri()) as page:
        return page.evaluate(RULES)


class TestRule:
    __test__ = BROWSER is not None

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            # #999 on white is 2.85; 40 % black on white is #999 as well. #888 is 3.54.
            ("contrast", ["2.85: <p> pale", "2.85: <p> transparent ink"]),
            ("too small to read", ["4.5 pixels: <text> tiny"]),
            ("headings", ["<h3> Skipped a level"]),
            ("unnamed", ["<img> ", "<a> "]),
            ("header cells without scope", ["<th> head"]),
            ("ids given twice", ["x"]),
            ("scrolls, but not by keyboard", ["<div> wide"]),
            ("wider than the page", ["2008 of 1280 pixels"]),
            ("no language or title", ["<body> "]),
        ],
    )
    def test_a_faulty_page_breaks_it(self, faults, rule, expected):
        found = faults[rule]
        assert len(found) == len(expected)
        assert all(fault.startswith(words) for fault, words in zip(found, expected, strict=True))
