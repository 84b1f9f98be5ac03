"""Settings of a run: defaults, YAML, and what is refused."""

from typing import get_args

import pytest

from easq_keras.models.methods import METHODS
from pipeline.configs import MODEL_NAME, Method, RunSettings, TrainerSettings
from pipeline.logs.checked import ConfigError


def test_settings_survive_the_way_through_plain_data():
    settings = RunSettings.from_dict(
        {"trainer": {"method": "EASQ-paper", "model": {"lambda_dpo": 3.0}}, "beam_args": ["--a=b"]}
    )
    assert settings.trainer.model_overrides == {"lambda_dpo": 3.0}
    assert RunSettings.from_dict(settings.to_dict()) == settings


def test_the_defaults_are_easq_untuned_in_this_process():
    settings = RunSettings()
    assert settings.trainer.method == "EASQ"
    assert settings.tuning.trials == 0
    assert settings.beam_args == ("--runner=FnApiRunner",)
    assert RunSettings.from_dict({}) == settings
    assert MODEL_NAME == "easq"


def test_the_methods_are_those_of_the_library():
    assert get_args(Method) == METHODS


def test_changed_model_settings_are_laid_over_the_others():
    settings = TrainerSettings(model='{"beta": 2.0, "units": 8}').with_model({"beta": 0.5})
    assert settings.model_overrides == {"beta": 0.5, "units": 8}


def test_a_yaml_file_is_named_in_its_errors(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("trainer: {batchsize: 8}")
    with pytest.raises(ConfigError, match=r"run\.yaml.*trainer\.batchsize.*batch_size"):
        RunSettings.from_yaml(file)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("trainer", "batch_size", 0),
        ("trainer", "answered_per_batch", -1),
        ("trainer", "seed", -1),
        ("trainer", "steps_per_execution", 0),
        ("trainer", "method", "best"),
        ("trainer", "replay_memory", -1),
        ("trainer", "workers", 0),
        ("trainer", "checkpoint_every", -1),
        ("tuning", "trials", -1),
        ("tuning", "validation_fraction", 1.0),
        ("tuning", "behaviour_loss", -0.1),
        ("tuning", "seed", -1),
        ("gate", "satisfaction_loss", -0.1),
        ("gate", "behaviour_loss", 1.5),
        ("gate", "min_gain_over_random", 2.0),
        ("infra_check", "requests", 0),
        ("infra_check", "warmup_requests", 65),
        ("infra_check", "timeout_seconds", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(part, field, value):
    with pytest.raises(ConfigError, match=rf"{part}\.{field}"):
        RunSettings.from_dict({part: {field: value}})
