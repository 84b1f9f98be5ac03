"""The card that goes with a pushed model: complete, honest, and in nobody's way."""

import json

import pytest

from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from pipeline.report.card_text import ethics, limits
from pipeline.report.model_card import full_fit_card, render_card, write_card
from tests.page_rules import PageRules
from tests.pipeline.report.conftest import COUNTS
from tests.pipeline.report.page import Page
from tests.pipeline.slate_stubs import DATASET


@pytest.fixture(scope="module")
def version(artifacts, tmp_path_factory):
    """A pushed version's folder with its card."""
    folder = tmp_path_factory.mktemp("serving") / "1795354720"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    card = full_fit_card(
        DatasetConfig.from_dict(DATASET),
        examples=artifacts["LogExampleGen"]["examples"].uri,
        statistics=artifacts["StatisticsGen"]["statistics"].uri,
        model_run=artifacts["Trainer"]["model_run"].uri,
        evaluation=artifacts["Evaluator"]["evaluation"].uri,
        infra_check=artifacts["InfraCheck"]["blessing"].uri,
        logs="/data/logs",
    )
    write_card(card, str(folder), int(folder.name))
    return folder


@pytest.fixture(scope="module")
def card(version):
    return json.loads((version / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))


def test_the_card_lies_where_a_model_server_does_not_look(version):
    assert sorted(path.name for path in version.iterdir()) == ["assets.extra", "saved_model.pb"]
    assert sorted(path.name for path in (version / "assets.extra").iterdir()) == [
        "model_card.html",
        "model_card.json",
    ]


def test_the_card_has_the_evaluation_of_the_report(card, report):
    assert card["version"] == "1795354720"
    assert card["evaluation"]["overall"] == report["evaluation"]["overall"]
    assert card["evaluation"]["slices"] == report["evaluation"]["slices"]
    assert card["verdict"] == report["verdict"]
    assert (card["counts"], card["funnel"]) == (report["counts"], report["funnel"])


def test_the_card_says_how_to_make_the_model_again(card):
    assert (card["run"]["method"], card["run"]["seed"]) == ("EASQ", 7)
    assert card["training"]["settings"] == {"lambda_dpo": 0.5, "units": 64}
    assert card["training"]["trainer"]["batch_size"] == 32
    assert DatasetConfig.from_dict(card["run"]["dataset_config"]) == DatasetConfig.from_dict(
        DATASET
    )
    assert card["run"]["versions"]["keras"].startswith("3.")


def test_the_page_is_well_formed_and_says_what_is_in_the_data(version):
    html = (version / "assets.extra" / "model_card.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open_tags == []
    assert "<script" not in html
    text = " ".join(" ".join(page.texts).split())
    assert "easq, version 1795354720" in text
    assert "Blessed: " in text
    # Pair groups, of which each ends with one answer of the training period.
    assert "learnt from 3 answers;" in text
    assert "1970-01-01 00:00 UTC to 1970-01-01 00:01 UTC" in text
    assert "user activity: 1-4 2" in text


def test_who_did_not_answer_is_told_with_the_figures():
    dataset = load_dataset_config("simulated")
    assert any("30 of 50 questionnaires (60 %)" in note for note in ethics(dataset, COUNTS))
    told = " ".join(limits(dataset, "9 answers"))
    assert "learnt from 9 answers;" in told
    assert "watched for 7 s or 50 % of their length" in told
    assert "simulated" in told


def test_reactions_that_stand_in_for_answers_are_told():
    dataset = load_dataset_config("kuairand")
    assert "Nobody was asked" in " ".join(ethics(dataset, COUNTS))
    told = " ".join(limits(dataset, "9 answers"))
    assert "watched for" not in told
    assert "simulated" not in told


class TestModelCard(PageRules):
    @pytest.fixture
    def address(self, version):
        return (version / "assets.extra" / "model_card.html").as_uri()


def test_a_version_of_online_learning_has_no_slices(card):
    online = {**card, "evaluation": {**card["evaluation"], "slices": []}, "infra_check": None}
    assert "The card of the full fit has the slices" in render_card({**online, "version": "9"})
