"""The settings of a world: what is refused, and how the refusal reads."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator import SimulatorConfig, SimulatorConfigError

NUMBERS = [f.name for f in dataclasses.fields(SimulatorConfig) if f.name != "scenario"]


def test_defaults_are_valid_and_survive_a_round_trip():
    config = SimulatorConfig()
    assert SimulatorConfig.from_dict(config.to_dict()) == config


def test_paper_has_the_published_rates_and_takes_other_fields():
    config = SimulatorConfig.paper(seed=7, scenario="strong")
    assert config.issue_rate == 0.005
    assert config.answer_rate < 0.02
    assert (config.seed, config.scenario) == (7, "strong")
    assert SimulatorConfig.paper(answer_rate=0.01).answer_rate == 0.01


def test_whole_numbers_are_taken_where_a_fraction_is_expected():
    config = SimulatorConfig.from_dict({"drift": 0, "lifetime_days": 3})
    assert (config.drift, config.lifetime_days) == (0.0, 3.0)
    assert isinstance(config.lifetime_days, float)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("seed", -1, "from 0"),
        ("seed", True, "a whole number"),
        ("users", 0, "from 1"),
        ("users", 10.0, "a whole number"),
        ("scenario", "mald", "one of mild, strong"),
        ("scenario", 3, "text"),
        ("exposed", 13, "at most candidates, which is 12"),
        ("candidates", 1, "from 2"),
        ("days", 0, "from 1"),
        ("days", 1.5, "a whole number"),
        ("items", 10, "39 or more"),
        ("issue_rate", 0, "above 0"),
        ("issue_rate", 1.2, "from 0 to 1"),
        ("answer_rate", 1.0, "below 1"),
        ("answer_noise", "a lot", "a finite number"),
        ("drift", float("nan"), "a finite number"),
        ("start_ms", 1, "a midnight in UTC"),
    ],
)
def test_an_unusable_value_is_refused_by_name_value_and_expectation(field, value, expected):
    with pytest.raises(SimulatorConfigError) as refusal:
        SimulatorConfig.from_dict({field: value})
    assert refusal.value.field == field
    message = str(refusal.value)
    assert message.startswith(f"simulator: {field} is {value!r}")
    assert expected in message


def test_a_misspelt_field_is_refused_with_a_suggestion():
    with pytest.raises(SimulatorConfigError, match="did you mean 'requests'"):
        SimulatorConfig.from_dict({"request": 10})


def test_something_else_than_a_mapping_is_refused():
    with pytest.raises(SimulatorConfigError, match="a mapping"):
        SimulatorConfig.from_dict([("seed", 1)])


@given(
    st.sampled_from(NUMBERS),
    st.one_of(st.text(), st.none(), st.booleans(), st.lists(st.integers())),
)
def test_no_number_may_be_anything_else(field, value):
    with pytest.raises(SimulatorConfigError) as refusal:
        SimulatorConfig.from_dict({field: value})
    assert refusal.value.field == field


@given(
    st.sampled_from(NUMBERS),
    st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=True, allow_infinity=True)),
)
@example("lifetime_days", 2.2e-311)  # no number of videos is enough
def test_a_number_is_kept_as_it_is_or_refused_by_name(field, value):
    refused = None
    try:
        config = SimulatorConfig.from_dict({field: value})
    except SimulatorConfigError as refusal:
        refused = refusal
    if refused is None:
        assert getattr(config, field) == value
    else:
        # Longer days or more candidates can ask for more items, fewer candidates show fewer.
        assert refused.field in (field, "items", "exposed")
        assert refused.field in str(refused)
