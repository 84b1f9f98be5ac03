"""What a dataset's answers change of a method's settings, in the pipeline and in experiments."""

import dataclasses

import pytest

from experiments.cells import KUAIRAND, CellSpec
from experiments.options import Entry, Options
from pipeline.configs import TrainerSettings
from pipeline.dataset_settings import dataset_replays, dataset_settings
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.training_session import build_model
from tests.pipeline.tiny_training import SMALL

SILENCE = {"satisfaction_loss": "silence", "lora_embedding_dim": 8}


@pytest.mark.parametrize(
    ("dataset", "method", "expected"),
    [
        ("kuairand", "EASQ", SILENCE),
        ("kuairand", "Blend", SILENCE),
        ("kuairand", "Imputation", SILENCE),
        ("kuairand", "EASQ-paper", {}),  # learns pairs as it is
        ("kuairand", "EMER", {}),  # learns no ŝ
        ("kuairand", "EMER_s-level", {}),
        ("simulated", "EASQ", {}),  # there a label is an answer
    ],
)
def test_where_the_unanswered_stand_in_the_middle_silence_is_learnt(dataset, method, expected):
    assert dataset_settings(method, load_dataset_config(dataset)) == expected


@pytest.mark.parametrize(
    ("dataset", "method", "expected"),
    [
        ("simulated", "EASQ", True),
        ("simulated", "EASQ-paper", False),
        ("kuairand", "EASQ", False),  # likes there are enough
        ("kuairand", "Imputation", False),
        ("kuairand", "EMER", False),
    ],
)
def test_answers_are_replayed_where_they_are_few(dataset, method, expected):
    assert dataset_replays(method, load_dataset_config(dataset)) is expected


def test_what_is_asked_of_the_trainer_holds_against_it(tiny_dataset):
    asked = dataclasses.replace(tiny_dataset.questionnaire, unanswered="middle")
    middle = dataclasses.replace(tiny_dataset, questionnaire=asked)
    usual = TrainerSettings(model=SMALL)
    assert build_model(usual, middle).settings.satisfaction_loss == "silence"
    own = usual.with_model({"satisfaction_loss": "bce"})
    assert build_model(own, middle).settings.satisfaction_loss == "bce"
    assert build_model(usual, tiny_dataset).settings.satisfaction_loss == "bce"


def test_experiments_train_as_the_pipeline_does():
    log, world = CellSpec(KUAIRAND, "", 0.0, 0), CellSpec()
    weights = Entry("other weights", "EASQ", settings=(("beta", 0.5),))
    assert {run.settings for run in Options().sweep(log, Entry.of("EASQ"), 0)} == {
        tuple(sorted(SILENCE.items()))
    }
    assert {run.settings for run in Options().sweep(log, weights, 0)} == {
        (("beta", 0.5), *sorted(SILENCE.items()))
    }
    assert {run.settings for run in Options().sweep(world, Entry.of("EASQ"), 0)} == {()}
    assert {run.settings for run in Options().sweep(log, Entry.of("Popularity"), 0)} == {()}


def test_experiments_replay_as_the_pipeline_does():
    log, world = CellSpec(KUAIRAND, "", 0.0, 0), CellSpec()
    forced = Entry("replay", "EASQ", replay=True)
    assert {run.replay for run in Options().sweep(log, Entry.of("EASQ"), 0)} == {False}
    assert {run.replay for run in Options().sweep(world, Entry.of("EASQ"), 0)} == {True}
    assert {run.replay for run in Options().sweep(log, forced, 0)} == {True}
