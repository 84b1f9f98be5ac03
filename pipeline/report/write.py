"""Puts the report of a run into its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.report.html import render_html
from pipeline.whole_files import write_in_one_step

if TYPE_CHECKING:
    from pipeline.local_runner import Workdir


def write_report(report: Mapping[str, Any], workdir: Workdir) -> None:
    """Writes `report.json` and `report.html`.

    Args:
        report: As `build_report` returns it.
        workdir: The run's folder.
    """
    text = json.dumps(report, indent=1, allow_nan=False)
    write_in_one_step(workdir.report_json, text)
    write_in_one_step(workdir.report_html, render_html(report))
