"""Settings are checked by name when they are made."""

import dataclasses
import json

import pytest

from easq_keras.models import EASQ, EASQSettings, EMERSettings
from tests.easq_keras.models.small import SPECS, easq


def test_the_defaults_are_the_recommended_preset():
    assert EASQSettings() == EASQSettings.preset("recommended")


def test_the_paper_preset_is_the_papers_method():
    paper = EASQSettings.preset("paper")
    assert paper.beta == 0.1
    assert (paper.dpo_pairs, paper.dpo_reference) == ("answers", "satisfaction")
    assert paper.satisfaction_loss == "pairwise"
    assert paper.gate_bias is None
    assert not paper.router_norm
    assert not paper.has_behaviour_head
    assert (paper.dpo_ramp_steps, paper.shaping, paper.satisfaction_decay) == (0, 0.0, 0.0)


@pytest.mark.parametrize("preset", ["recommended", "paper"])
def test_settings_survive_json(preset):
    settings = EASQSettings.preset(preset)
    assert EASQSettings(**json.loads(json.dumps(settings.to_dict()))) == settings


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EASQSettings().beta = 2.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", 0),
        ("num_layers", 1.5),
        ("num_heads", True),
        ("num_experts", -1),
        ("expert_hidden_dim", "8"),
        ("num_satisfaction_experts", 0),
        ("lora_rank", 0),
        ("lora_embedding_dim", -1),
        ("lora_alpha", 0.0),
        ("gate_bias", float("nan")),
        ("learning_rate", 0.0),
        ("lambda_satisfaction", -1.0),
        ("satisfaction_decay", -1.0),
        ("lambda_dpo", float("inf")),
        ("shaping", -0.1),
        ("beta", 0.0),
        ("beta_start", 0.0),
        ("dpo_ramp_steps", -1),
        ("dpo_ramp_steps", 2.5),
        ("use_lora", 1),
        ("use_moe", "yes"),
        ("use_dpo", None),
        ("router_norm", 0),
        ("satisfaction_loss", "mse"),
        ("dpo_pairs", "users"),
        ("dpo_reference", "self"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        EASQSettings(**{name: value})


def test_a_misspelt_setting_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no setting \['lamda_dpo'\].*lambda_dpo"):
        EASQSettings().replace(lamda_dpo=1.0)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="'recommended', 'paper'"):
        EASQSettings.preset("best")


def test_a_start_of_beta_needs_a_ramp():
    with pytest.raises(ValueError, match="beta_start"):
        EASQSettings(beta_start=0.1, dpo_ramp_steps=0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, True), ({"use_dpo": False}, False), ({"dpo_reference": "none"}, False)],
)
def test_only_the_behaviour_reference_needs_the_behaviour_head(changes, expected):
    assert EASQSettings(**changes).has_behaviour_head is expected
    assert (easq(**changes).behaviour_head is not None) is expected


def test_a_model_takes_single_settings_beside_a_set_of_them():
    model = EASQ(SPECS, settings=EASQSettings(units=8, num_heads=2), lora_rank=3)
    assert (model.settings.units, model.settings.lora_rank) == (8, 3)
    assert model.lora.rank == 3


def test_settings_of_another_model_are_refused():
    with pytest.raises(ValueError, match="EASQSettings"):
        EASQ(SPECS, settings=EMERSettings())
