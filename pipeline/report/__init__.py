"""The report of a run: `report.json` for programs, `report.html` and a short summary for people.

`build_report` reads what the components left behind; `render_html` and `summarise` only format what
it found, so every number they show is in `report.json`.
"""

from pipeline.report.build import build_report
from pipeline.report.html import render_html
from pipeline.report.summary import Summary, summarise
from pipeline.report.write import write_report

__all__ = ["Summary", "build_report", "render_html", "summarise", "write_report"]
