"""A search on hand-written slates: one start for all trials, few models, the best handed on."""

import dataclasses
import json

import numpy as np
import pytest

from pipeline.configs import TuningSettings
from pipeline.tuning import space
from pipeline.tuning.search import tuner_fn
from tests.pipeline.tiny_training import tiny_fn_args

# Ann is satisfied by the long video and not by the short one, and behaves the other way round.
SLATE = ("ann", "8", [("a", 10.0, 1, 0), ("b", 40.0, 0, 2), ("c", 20.0, 0, -1)])


def search_args(folder, dataset, transform_dir, slates, **tuning):
    fn_args = tiny_fn_args(folder, dataset, transform_dir, slates)
    fn_args.custom_config["tuning"] = dataclasses.asdict(TuningSettings(**tuning))
    return fn_args


@pytest.fixture(scope="module")
def searched(tiny_dataset, tiny_transform_dir, tmp_path_factory):
    """A search of two trials, of which the second needs another model."""
    folder = tmp_path_factory.mktemp("search")
    fn_args = search_args(
        folder, tiny_dataset, tiny_transform_dir, [SLATE] * 20, trials=2, behaviour_loss=1.0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "TRIALS_PER_MODEL", 1)
        result = tuner_fn(fn_args)
    result.tuner.search(**result.fit_kwargs)
    return result.tuner


def test_every_planned_trial_was_judged_and_two_models_were_compiled(searched):
    record = searched.record()
    assert [trial["values"] for trial in record["trials"]] == searched._plan
    budget = record["budget"]
    assert (budget["trials"], budget["reference_passes"], budget["compiled_models"]) == (2, 1, 2)
    assert (budget["training_slates"], budget["validation_slates"]) == (16, 4)
    assert (budget["validation_users"], budget["validation_pairs"]) == (1, 16)
    json.dumps(record)


def test_the_best_trial_is_handed_to_the_trainer(searched):
    record = searched.record()
    best = searched.get_best_hyperparameters()[0]
    assert best.get_config()["values"] == record["trials"][record["chosen"]]["values"]
    scores = [trial["score"] for trial in record["trials"]]
    assert scores[record["chosen"]] == max(scores)


def test_a_trial_repeated_after_training_is_judged_the_same(searched):
    last = searched.results[-1]
    again = searched._bench.run(last.values, "again")
    np.testing.assert_array_equal(again.judgement.behaviour, last.judgement.behaviour)
    np.testing.assert_array_equal(again.judgement.primary, last.judgement.primary)


def test_slates_that_cannot_judge_are_refused_before_any_training(
    tiny_dataset, tiny_transform_dir, tmp_path
):
    unanswered = ("ann", "8", [("a", 10.0, 1, -1), ("b", 40.0, 0, -1)])
    slates = [SLATE] * 8 + [unanswered] * 2
    fn_args = search_args(tmp_path, tiny_dataset, tiny_transform_dir, slates, trials=2)
    with pytest.raises(ValueError, match=r"newest 2 slates .* no pair of answers"):
        tuner_fn(fn_args)
