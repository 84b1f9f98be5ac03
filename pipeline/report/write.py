"""Puts the report of a run into its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.report.build import build_report
from pipeline.report.html import render_html

if TYPE_CHECKING:
    from pipeline.configs import RunSettings
    from pipeline.local_runner import Workdir
    from pipeline.logs.dataset_config import DatasetConfig
    from pipeline.run_artifacts import RunArtifact


def write_report(
    workdir: Workdir,
    artifacts: Mapping[str, Mapping[str, RunArtifact]],
    dataset: DatasetConfig,
    settings: RunSettings,
    *,
    seconds: Mapping[str, float],
    command: str,
) -> dict[str, Any]:
    """Builds the report, writes `report.json` and `report.html`, and returns it.

    Args:
        workdir: The run's folder.
        artifacts, dataset, settings, seconds, command: See `build_report`.
    """
    report = build_report(
        root=workdir.root,
        artifacts=artifacts,
        dataset=dataset,
        settings=settings,
        seconds=seconds,
        command=command,
    )
    text = json.dumps(report, indent=1, allow_nan=False)
    workdir.report_json.write_text(text, encoding="utf-8")
    workdir.report_html.write_text(render_html(report), encoding="utf-8")
    return report
