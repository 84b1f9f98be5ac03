"""Settings of a test: whatever cannot run is refused before anything is made."""

from pathlib import Path

import pytest

from experiments.ab.settings import ABSettings
from pipeline.configs import RunSettings
from pipeline.logs.checked import ConfigError
from simulator import SimulatorConfigError


def test_the_days_add_up_to_the_world():
    settings = ABSettings(history_days=2, warm_up_days=1, days=7, requests_per_day=100)
    world = settings.world()
    assert (world.days, world.requests) == (10, 1_000)
    assert settings.first_measured_day == 3


def test_an_arm_is_a_method_a_settings_file_or_a_folder(tmp_path):
    (tmp_path / "run.yaml").write_text("trainer: {method: EASQ, model: {lambda_dpo: 3.0}}")
    (tmp_path / "model" / "12").mkdir(parents=True)
    settings = ABSettings(
        control=str(tmp_path / "model"), treatment=str(tmp_path / "run.yaml"), seed=4
    )
    assert settings.served_by("control") == tmp_path / "model"
    treatment = settings.served_by("treatment")
    assert isinstance(treatment, RunSettings)
    assert treatment.trainer.model_overrides == {"lambda_dpo": 3.0}

    by_name = ABSettings(control="EMER", treatment="EASQ-paper", seed=4)
    for arm, method in (("control", "EMER"), ("treatment", "EASQ-paper")):
        trained = by_name.served_by(arm)
        assert isinstance(trained, RunSettings)
        assert (trained.trainer.method, trained.trainer.seed) == (method, 4)


def test_a_method_is_tested_even_where_it_ranks_worse_than_chance():
    trained = ABSettings(control="EMER").served_by("control")
    assert isinstance(trained, RunSettings)
    assert trained.gate.min_gain_over_random == -1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"treatment": "EASK"},
            "treatment: found 'EASK'; expected one of EMER, .*did you mean 'EA",
        ),
        ({"treatment_share": 1.0}, "treatment_share: found 1.0; expected between 0 and 1"),
        ({"days": 0}, "days: found 0; expected 1 or more"),
        ({"resplits": -1}, "resplits: found -1; expected 0 or more"),
        ({"requests_per_day": 3, "spans_per_day": 4}, "spans_per_day: found 4; expected at most"),
    ],
)
def test_a_wrong_setting_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        ABSettings(**values)


def test_a_world_that_cannot_be_is_refused():
    with pytest.raises(SimulatorConfigError, match="scenario is 'stronk'"):
        ABSettings(scenario="stronk")


def test_settings_come_from_yaml(tmp_path):
    path = Path(tmp_path / "ab.yaml")
    path.write_text("{control: EASQ, users: 100, days: 8}")
    settings = ABSettings.from_yaml(path)
    assert (settings.control, settings.users, settings.days) == ("EASQ", 100, 8)
    path.write_text("{user: 100}")
    with pytest.raises(ConfigError, match=r"ab\.yaml: user: found an unknown key; .*'users'"):
        ABSettings.from_yaml(path)
