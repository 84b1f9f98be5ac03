"""The report of `easq online` as a browser shows it."""

import pytest

from pipeline.online.report import render_online_html
from tests.page_rules import PageRules

_MEANS = {
    "pair_accuracy": 0.7,
    "satisfied_auc": 0.6,
    "behaviour_ndcg@10": 0.8,
}


def _record(number):
    """A span as the series has it; every third with an alarm, every second not pushed."""
    return {
        "span": f"2026-01-0{number}T00",
        "version": 1000 + number if number % 2 else None,
        "reason": "Blessed: behaviour NDCG@10 -0.010 against the last blessed model.",
        "alarms": ["the scores' spread grew to the threefold"] if number % 3 == 0 else [],
        "rankers": {
            ranker: {
                metric: {"mean": mean + 0.01 * number, "low": mean - 0.1, "high": mean + 0.1}
                for metric, mean in _MEANS.items()
            }
            for ranker in ("model", "popularity", "random")
        },
        "score_std": 1.5,
        "satisfaction_std": None,
        "seconds": {"Trainer": 3.0, "all": 5.0},
    }


class TestOnlineReport(PageRules):
    @pytest.fixture(scope="class")
    @classmethod
    def address(cls, tmp_path_factory):
        report = {
            "spans": [_record(number) for number in range(1, 8)],
            "versions": [{"number": 1007, "span": "2026-01-07T00", "labels": ["canary"]}],
            "rollbacks": [{"withdrawn": 1004, "served": 1003, "span": "2026-01-04T00"}],
            "freshness": {"n": 3, "p50": 37.5, "p95": 81.9},
            "seconds": {"all": {"n": 7, "p50": 5.0, "p95": 5.5}},
        }
        file = tmp_path_factory.mktemp("page") / "report.html"
        file.write_text(render_online_html(report), encoding="utf-8")
        return file.as_uri()
