"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Any

import jinja2

from pipeline.example_gen.answer_burst import answer_burst
from pipeline.report import text
from pipeline.report.figures import lift_plots, ranking_plots, training_plots
from pipeline.report.summary import infra_sentence, push_sentence

SECTIONS = {
    "rankings": "Rankings",
    "slices": "Slices",
    "alignment": "Alignment",
    "paper": "Paper's metrics",
    "data": "Data",
    "answers": "Answers",
    "tuning": "Tuning",
    "training": "Training",
    "serving": "Serving",
    "cost": "Cost",
    "lineage": "Lineage",
}


def render_html(report: dict[str, Any]) -> str:
    """Formats a report of `build_report` (or read from `report.json`) for people."""
    return template("report.html.j2").render(
        report=report,
        sections=SECTIONS.items(),
        headline=text.headline_metrics(report),
        primary=text.primary_metric(report),
        paper_metrics=text.PAPER_METRICS,
        ranker_names=text.RANKER_NAMES,
        metric_names=text.METRIC_NAMES,
        metric_meanings=text.METRIC_MEANINGS,
        ranking_plots=ranking_plots(report),
        lift_plots=lift_plots(report),
        training_plots=training_plots(report),
        answer_burst=answer_burst(report["counts"]["answers"]),
        infra_sentence=infra_sentence(report["infra_check"]),
        push_sentence=push_sentence(report["push"]),
    )


def template(name: str) -> jinja2.Template:
    """A page of `templates/`, with the filters of `pipeline.report.text`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        text.number,
        text.signed,
        text.percent,
        text.share,
        text.count,
        text.interval,
        text.moment,
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment.get_template(name)
