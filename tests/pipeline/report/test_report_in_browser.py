"""report.html as a browser shows it: the report of a run whose settings were searched."""

import pytest

from pipeline.report import render_html
from tests.page_rules import PageRules
from tests.pipeline.report.conftest import report_of


class TestRunReport(PageRules):
    @pytest.fixture(scope="class")
    @classmethod
    def address(cls, tuned_artifacts, tmp_path_factory):
        file = tmp_path_factory.mktemp("page") / "report.html"
        file.write_text(render_html(report_of(tuned_artifacts)), encoding="utf-8")
        return file.as_uri()
