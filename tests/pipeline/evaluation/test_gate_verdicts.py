"""The gate of a full run on models of which it is known whether they are good."""

import numpy as np
import pytest

from pipeline.evaluation.verdict import read_verdict
from tests.pipeline.evaluation_run import evaluate_models
from tests.pipeline.slate_stubs import save_ranker, slate_example

D, S = 0, 2
# Quality orders satisfaction and behaviour alike; every user answered both ways.
EXAMPLES = [
    slate_example(
        f"r{place}",
        f"u{place}",
        [0.9, 0.6, 0.3, 0.1],
        answer=[S, S, D, D],
        behaviour_level=[1, 1, 0, 0],
        popularity=[1.0, 0.0, 1.0, 0.0],
    )
    for place in range(12)
]
MODELS = {
    "trained": {},
    "constant": {"sign": 0.0},
    "exploded": {"sign": 1e6},
    "against the answers": {"sign": -1.0},
    "infinite": {"sign": float("inf")},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {
        name: save_ranker(tmp_path_factory.mktemp("models") / str(place), **change)
        for place, (name, change) in enumerate(MODELS.items())
    }


def verdict(folder, *models, examples=EXAMPLES):
    evaluate_models(folder, list(models), examples)
    return read_verdict(str(folder))


def test_a_good_model_is_blessed_first_and_again(models, tmp_path):
    assert verdict(tmp_path / "first", models["trained"]).blessed
    again = verdict(tmp_path / "again", models["trained"], models["trained"])
    assert again.blessed
    assert all(not check.said for check in again.checks)


@pytest.mark.parametrize(
    ("name", "cause", "setting"),
    [
        ("constant", "it gives the candidates of a slate the same score", "model.learning_rate"),
        ("exploded", "within a slate, they have exploded", "lower trainer.model.learning_rate"),
        ("against the answers", "it ranks against the answers", "questionnaire.answers"),
    ],
)
def test_a_bad_model_is_refused_on_a_first_run_with_cause_and_setting(
    models, tmp_path, name, cause, setting
):
    found = verdict(tmp_path, models[name])
    assert not found.blessed
    assert found.sentence.startswith("Not blessed: ")
    assert cause in found.sentence
    assert setting in found.sentence


def test_scores_that_are_no_numbers_stop_the_run(models, tmp_path):
    with pytest.raises(
        Exception, match=r"must be a finite number.*lower trainer.model.learning_rate"
    ):
        verdict(tmp_path, models["infinite"])


def test_a_random_ranking_is_refused_beside_a_trained_model(models, tmp_path):
    rng = np.random.default_rng(3)
    by_chance = [
        slate_example(
            f"r{place}",
            f"u{place}",
            rng.permutation([0.9, 0.6, 0.3, 0.1]).tolist(),
            answer=[S, S, D, D],
            behaviour_level=[1, 1, 0, 0],
        )
        for place in range(12)
    ]
    # By quality the candidate orders these by chance; the model before it knew the answers' order.
    before = save_ranker(tmp_path / "before", sign=0.0, order=1.0)
    found = verdict(tmp_path / "out", models["trained"], before, examples=by_chance)
    assert not found.blessed
    assert "against the last blessed model" in found.sentence


def test_behaviour_that_pays_for_satisfaction_names_the_price(models, tmp_path):
    at_odds = [
        slate_example(f"r{i}", f"u{i}", [0.9, 0.1], answer=[S, D], behaviour_level=[0, 1])
        for i in range(3)
    ]
    found = verdict(tmp_path, models["trained"], models["against the answers"], examples=at_odds)
    assert not found.blessed
    assert "behaviour NDCG@10 -0.369 against the last blessed model" in found.sentence
    assert found.sentence.endswith("lower trainer.model.lambda_dpo, where there is one.")
