"""Two runs side by side: what differs, by how much, and what cannot be compared."""

import copy
import json

import pytest

from pipeline.report.compare import compare_runs, read_report, render_comparison
from tests.page_rules import PageRules
from tests.pipeline.report.page import Page


def changed(report):
    """The same evaluation, by another model that gets half of the users' pairs right."""
    other = copy.deepcopy(report)
    other["run"]["settings"]["trainer"]["batch_size"] = 64
    other["training"]["settings"]["lambda_dpo"] = 2.0
    other["counts"]["impressions"]["used"] = 990
    other["evaluation"]["overall"]["rankers"]["model"]["pair_accuracy"]["mean"] = 0.5
    draws = other["evaluation"]["draws"]["by_metric"]
    draws["pair_accuracy"] = [0.25 if number < 100 else 0.5 for number in range(1000)]
    return other


@pytest.fixture
def write(tmp_path):
    def write(name, report):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(report))
        return folder

    return write


@pytest.fixture
def compared(write, report):
    return compare_runs(write("one", report), write("other", changed(report)))


def metric(comparison, name):
    return next(one for one in comparison["metrics"] if one["metric"] == name)


def test_the_difference_is_paired_where_both_met_the_same_users(compared):
    # All draws of the first mean are 1; a tenth of the second's are 0.25, the others 0.5.
    assert metric(compared, "pair_accuracy")["difference"] == {
        "mean": -0.5,
        "low": -0.75,
        "high": -0.5,
    }
    assert metric(compared, "satisfied_auc")["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert compared["outcome"] == "worse"
    assert compared["sentence"] == (
        "pair accuracy -0.500 from the first run to the second "
        "(95 % -0.750 to -0.500, paired over 4 users): the second is worse."
    )


def test_only_what_was_set_differently_is_listed(compared):
    assert [(one["name"], one["values"]) for one in compared["settings"]] == [
        ("settings.trainer.batch_size", [32, 64]),
        ("model.lambda_dpo", [0.5, 2.0]),
    ]


def test_counts_and_seconds_stand_side_by_side(compared):
    counts = {one["name"]: one["values"] for one in compared["counts"]}
    assert counts["impressions.used"] == [1000, 990]
    assert counts["answers.rejected.not_triggered"] == [1, 1]
    assert {"name": "Trainer", "values": [22.0, 22.0]} in compared["seconds"]
    assert compared["funnel"][0] == {"name": "impressions used", "counts": [1000, 1000]}


def test_a_run_is_the_same_as_itself(write, report):
    same = compare_runs(write("one", report), write("copy", report))
    assert same["settings"] == []
    assert same["outcome"] == "open"
    assert same["sentence"].endswith("no difference is shown.")


def test_other_answers_are_said_and_give_no_paired_interval(write, report):
    other = copy.deepcopy(report)
    other["evaluation"]["draws"]["data"] = "another day"
    found = compare_runs(write("one", report), write("other", other))
    assert not found["same_data"]
    assert metric(found, "pair_accuracy")["difference"] == {"mean": 0.0, "low": None, "high": None}
    assert "evaluated on different slates" in found["sentence"]


def test_runs_on_two_datasets_are_refused(write, report):
    other = copy.deepcopy(report)
    other["run"]["dataset"] = "kuairand"
    with pytest.raises(ValueError, match=r"'stub', .*other one on 'kuairand'.*same dataset"):
        compare_runs(write("one", report), write("other", other))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "holds no report.json; expected the work folder of a finished easq run"),
        ("{", "is no JSON"),
        ("{}", "is no report of easq run"),
        ('{"run": {}, "format": 1}', "is of format 1, this version reads format 2"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_report(tmp_path)


def test_the_page_is_well_formed_and_needs_nothing_else(compared):
    html = render_comparison(compared)
    page = Page(html)
    assert page.open_tags == []
    assert "<script" not in html
    assert not [entry for entry in page.attributes if entry[1] in ("src", "href")]
    text = " ".join(" ".join(page.texts).split())
    assert "pair accuracy 1.000 1.000 to 1.000 4 users 0.500" in text
    assert "-0.500 -0.750 to -0.500" in text
    assert "settings.trainer.batch_size 32 64" in text


class TestComparison(PageRules):
    @pytest.fixture
    def address(self, compared, tmp_path):
        page = tmp_path / "comparison.html"
        page.write_text(render_comparison(compared), encoding="utf-8")
        return page.as_uri()
