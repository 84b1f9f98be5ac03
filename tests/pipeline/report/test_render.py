"""report.html and the summary: complete, self-contained, honest about what is not known."""

import copy
import re

import pytest

from pipeline.report import render_html, summarise
from pipeline.report.html import SECTIONS
from tests.pipeline.report.conftest import report_of
from tests.pipeline.report.page import Page


@pytest.fixture(scope="module")
def html(report):
    return render_html(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_page_is_well_formed(page):
    assert page.open_tags == []
    assert len(page.ids) == len(set(page.ids))


def test_page_needs_nothing_from_elsewhere(page, html):
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    assert not [entry for entry in page.attributes if entry[1] in loading]
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_first_table_has_the_rankings_side_by_side(html):
    table = html[html.index("<table") : html.index("</table>")]
    heads = re.findall(r'<th scope="col">([^<]+)', table)
    assert heads == [
        "ranking",
        "pair accuracy",
        "satisfied AUC",
        "true top 4",
        "true NDCG@5",
        "behaviour NDCG@10",
    ]
    rows = re.findall(r'<th scope="row">([^<]+)', table)
    assert rows == [
        "this model",
        "last blessed",
        "popularity",
        "random",
        "oracle",
    ]
    assert "4 users, 4 pairs" in table


def test_every_plot_says_in_words_what_it_shows(page):
    labels = [
        value for tag, name, value in page.attributes if (tag, name) == ("figure", "aria-label")
    ]
    assert len(labels) == 5 + 1 + 4  # rankings, behaviour, training
    assert any(
        label.startswith("pair accuracy: this model 1.000 (1.000 to 1.000); last")
        for label in labels
    )
    assert any(
        label.startswith("Behaviour given the answer: like: satisfied +200 %") for label in labels
    )
    assert "Satisfaction loss: over 1234 steps; at the end: ŝ 0.3." in labels


def _numbers(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def test_every_number_in_a_table_cell_is_in_the_report(html, report):
    # The draws are so many that some number of theirs is near any.
    known = list(_numbers({**report, "evaluation": {**report["evaluation"], "draws": None}}))
    cells = re.findall(r"<td>(.*?)</td>", html, flags=re.DOTALL)
    shown = [
        (number.replace(",", ""), "%" in cell)
        for cell in cells
        for number in re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?", cell)
    ]
    assert len(shown) > 100
    for number, is_percent in shown:
        digits = len(number.partition(".")[2])
        value, step = float(number), 0.5 * 10.0**-digits
        scales = (1.0, 100.0) if is_percent else (1.0,)
        # Percentages have three significant digits.
        slack = step + (0.005 * abs(value) if is_percent else 0.0) + 1e-9
        assert any(abs(scale * one - value) <= slack for one in known for scale in scales), number


def test_a_link_of_the_contents_leads_to_each_section(page):
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    # There was no search for settings in this run.
    assert links == [f"#{name}" for name in SECTIONS if name != "tuning"]
    assert {link[1:] for link in links} <= set(page.ids)


def test_slates_are_shown_before_and_after_alignment_with_the_answers(page):
    text = " ".join(" ".join(page.texts).split())
    assert "satisfied +0.750 +0.250 to +1.500 4" in text
    assert "Request r<7>: i1 answered satisfied, place 2 before and 1 after" in text
    assert "1 2 i1 topic: music like satisfied 0.500" in text
    assert "2 1 i2 topic: music not shown 0.250" in text


def test_a_method_without_a_ranking_by_behaviour_shows_its_own_alone(report):
    alone = copy.deepcopy(report)
    alone["alignment"]["moved"] = None
    for candidate in alone["alignment"]["slates"][0]["candidates"]:
        candidate["before"] = None
    text = " ".join(" ".join(Page(render_html(alone)).texts).split())
    assert "i1 answered satisfied, place 1" in text
    assert "has no ranking by behaviour alone" in text


def test_the_page_says_where_everything_lies_and_how_to_open_it(page):
    text = " ".join(" ".join(page.texts).split())
    assert "tensorboard --logdir model_run" in text
    assert 'tfma.load_eval_result("evaluation")' in text
    assert 'tfdv.load_stats_binary("statistics/Split-train/FeatureStats.pb")' in text
    assert "Requests of the train split: 1970-01-01 00:00 UTC to 1970-01-01 00:01 UTC." in text
    assert "3 features of the train split, no anomalies; 3 features of the eval split, 1" in text


def test_what_was_wrong_in_training_is_told(html):
    assert "<strong>Alarm:</strong> no expert of ŷ is open for 60% of the candidates" in html


def test_a_burst_of_answers_from_few_accounts_is_told(report, html):
    assert "more than a user may give in a day" not in html
    attacked = copy.deepcopy(report)
    attacked["counts"]["answers"] |= {
        "read": 1000, "not_answered": 900, "rejected": {"over_daily_limit": 2},
    }  # fmt: skip
    told = " ".join(render_html(attacked).split())
    assert (
        "<strong>Alarm:</strong> 2 of 100 answers were more than a user may give in a day" in told
    )


def test_text_of_the_run_is_escaped(html):
    assert "easq run --dataset &lt;stub&gt;" in html


def test_a_failed_run_explains_itself(report):
    failed = copy.deepcopy(report)
    failed["verdict"]["blessed"] = False
    failed["verdict"]["sentence"] = "Not blessed: because."
    failed["infra_check"] |= {
        "passed": False,
        "failure": "the server ended\nlog line 1\nlog line 2",
        "latency_ms": {},
        "seconds_to_available": None,
        "max_difference": None,
    }
    failed["push"] = {"pushed": False, "version": None, "path": None, "card": None}
    html = render_html(failed)
    assert "Not blessed: because." in html
    assert "log line 2" in html
    assert "Infra check failed: the server ended" in html
    assert "Not pushed" in html


def test_unknown_values_are_a_dash(report):
    unknown = copy.deepcopy(report)
    for ranker in unknown["evaluation"]["overall"]["rankers"].values():
        ranker["pair_accuracy"] |= {"mean": None, "low": None, "high": None, "n_users": 0}
    for answer in ("satisfied", "dissatisfied"):
        unknown["behaviour_lift"]["like"][answer] |= dict.fromkeys(("rate", "lift", "low", "high"))
    html = render_html(unknown)
    assert "None" not in html
    assert not re.search(r"\bnan\b", html, flags=re.IGNORECASE)
    assert summarise(unknown).rows[0][1] == "–"


def test_the_same_report_gives_the_same_page(report, html):
    assert render_html(copy.deepcopy(report)) == html


def test_the_datasets_primary_metric_comes_first(report):
    other = copy.deepcopy(report)
    other["run"]["dataset_config"]["questionnaire"]["primary_metric"] = "satisfied_auc"
    assert summarise(other).columns[:3] == ("ranking", "satisfied AUC", "pair accuracy")
    assert "ranked higher; the primary metric" in render_html(other)


def test_summary_for_a_terminal(report):
    summary = summarise(report)
    assert summary.columns == (
        "ranking",
        "pair accuracy",
        "satisfied AUC",
        "true top 4",
        "behaviour NDCG@10",
    )
    assert summary.rows[0][:2] == ("this model", "1.000\n1.000–1.000")
    assert dict(summary.counts)["impressions"] == (
        "read 1,010, used 1,000, rejected 10 (duplicate 10)"
    )
    assert dict(summary.counts)["pairs"] == "same user 4, in request 31"
    assert dict(summary.counts)["coverage"] == "25% of batches with a pair, 0.8 pairs a batch"
    assert summary.verdict.startswith("Blessed: ")
    assert summary.infra_check == (
        "Infra check passed: 64 requests served by both signatures, equal within 0, median 1.9 ms."
    )
    assert summary.push == "Pushed version 17."


def test_the_page_names_the_method_and_what_it_trades_by(page):
    assert "EASQ, lambda_dpo = 0.5: 1,234 steps" in " ".join(" ".join(page.texts).split())


def test_every_trial_of_a_search_is_in_the_page_with_its_interval(tuned_artifacts):
    tuned = report_of(tuned_artifacts)
    page = Page(render_html(tuned))
    assert page.open_tags == []
    text = " ".join(" ".join(page.texts).split())
    assert "2, chosen 1.25 16 0.650 (0.450 to 0.850) +0.050 -0.100 to +0.200 0.795 yes" in text
    assert (
        "32 slates of the training period and was judged on its newest 8 (3 users, 5 pairs)" in text
    )
    assert "the eval split took no part" in text
    assert ("tuning", tuned["tuning"]["sentence"]) in summarise(tuned).counts


def test_without_a_search_nothing_is_said_of_one(page):
    assert "tuning" not in page.ids
