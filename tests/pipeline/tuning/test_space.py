"""What the search tries: the settings that have an effect, covered evenly, few models."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.models.methods import METHODS, method_info
from pipeline.configs import TrainerSettings
from pipeline.tuning.space import TRIALS_PER_MODEL, SearchSpace, Tunable, plan_trials, search_space


def names(method, **model):
    space = search_space(TrainerSettings(method=method).with_model(model))
    return space.weight and space.weight.name, {tunable.name for tunable in space.compiled}


def test_easq_searches_both_lambdas_beta_and_the_rank_and_the_experts_where_it_has_any():
    common = {"lambda_satisfaction", "beta", "lora_rank"}
    assert names("EASQ") == ("lambda_dpo", common)
    with_experts = names("EASQ", use_moe=True)[1]
    assert with_experts == common | {"num_experts", "num_satisfaction_experts"}


def test_a_setting_without_effect_in_a_method_is_not_searched():
    assert names("EASQ-w/o-LoRA")[1] == names("EASQ")[1] - {"lora_rank"}
    paper = names("EASQ-paper")[1]
    experts = {"num_experts", "num_satisfaction_experts"}
    assert names("EASQ-paper", use_moe=False)[1] == paper - experts
    assert names("EASQ", use_dpo=False)[1] == names("EASQ")[1] - {"beta"}
    assert names("EMER") == (None, {"num_experts"})
    # The weight of EMER_s is its λ1: not searched twice.
    assert names("EMER_s-level") == ("lambda_satisfaction", {"num_experts"})


@pytest.mark.parametrize("method", METHODS)
def test_every_trial_of_every_method_is_accepted_by_its_settings(method):
    space = search_space(TrainerSettings(method=method))
    info = method_info(method)
    for values in plan_trials(space, 9, seed=1):
        assert set(values) == {tunable.name for tunable in space.tunables}
        info.model.settings_class(**info.settings).replace(**values)


def test_the_first_trial_is_what_was_configured():
    configured = TrainerSettings().with_model({"lambda_dpo": 7.0, "lora_rank": 5})
    first, *others = plan_trials(search_space(configured), 8, seed=0)
    assert (first["lambda_dpo"], first["lora_rank"]) == (7.0, 5)
    assert first["beta"] == 1.0  # the method's own
    assert all(values != first for values in others)


def test_a_range_is_covered_evenly_and_choices_come_up_equally_often():
    weight = Tunable("lambda_dpo", 1.0, low=0.01, high=100.0)
    rank = Tunable("lora_rank", 16, choices=(4, 8, 16, 32))
    plan = plan_trials(SearchSpace(weight, (rank,)), 5 * TRIALS_PER_MODEL, seed=0)
    drawn = plan[TRIALS_PER_MODEL:]
    assert sorted({values["lora_rank"] for values in drawn}) == [4, 8, 16, 32]
    for start in range(0, len(drawn), 4):
        of_model = sorted(values["lambda_dpo"] for values in drawn[start : start + 4])
        # A quarter of the range each: .01 to .1, .1 to 1, 1 to 10, 10 to 100.
        for value, low in zip(of_model, (0.01, 0.1, 1.0, 10.0), strict=True):
            assert low <= value <= 10 * low


@settings(max_examples=50)
@given(trials=st.integers(1, 40), seed=st.integers(0, 1000))
def test_as_many_trials_as_asked_for_and_a_model_for_every_few(trials, seed):
    weight = Tunable("lambda_dpo", 0.5, low=0.1, high=3.0)
    beta = Tunable("beta", 1.0, low=0.1, high=3.0)
    plan = plan_trials(SearchSpace(weight, (beta,)), trials, seed)
    assert len(plan) == trials
    # Trials of one model follow each other.
    models = [beta for place, beta in enumerate(v["beta"] for v in plan) if not place % 4]
    assert [values["beta"] for values in plan] == [b for b in models for _ in range(4)][:trials]
    assert len(set(models)) == len(models) == -(-trials // TRIALS_PER_MODEL)
    assert plan == plan_trials(SearchSpace(weight, (beta,)), trials, seed)
    for values in plan:
        assert 0.1 <= values["lambda_dpo"] <= 3.0
        assert 0.1 <= values["beta"] <= 3.0


def test_without_a_weight_every_trial_is_another_model():
    k1 = Tunable("num_experts", 6, choices=(4, 6, 8, 12))
    plan = plan_trials(SearchSpace(None, (k1,)), 5, seed=0)
    assert plan[0] == {"num_experts": 6}
    assert sorted(values["num_experts"] for values in plan[1:]) == [4, 6, 8, 12]
