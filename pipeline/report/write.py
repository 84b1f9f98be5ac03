"""Puts the report of a run into its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.report.html import render_html

if TYPE_CHECKING:
    from pipeline.local_runner import Workdir


def write_report(report: Mapping[str, Any], workdir: Workdir) -> None:
    """Writes `report.json` and `report.html`.

    Args:
        report: As `build_report` returns it.
        workdir: The run's folder.
    """
    text = json.dumps(report, indent=1, allow_nan=False)
    workdir.report_json.write_text(text, encoding="utf-8")
    workdir.report_html.write_text(render_html(report), encoding="utf-8")
