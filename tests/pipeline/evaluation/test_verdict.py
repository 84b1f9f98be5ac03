"""The gate's verdict in words, for every way it can fall."""

import math

import pytest

from pipeline.evaluation.verdict import Check


def check(**changes):
    values = {
        "metric": "pair accuracy",
        "against": "the random ranking",
        "difference": 0.2,
        "low": 0.1,
        "high": 0.3,
        "limit": 0.0,
        "of_high": False,
        "passed": True,
    }
    return Check(**(values | changes))


def test_a_reason_gives_the_difference_the_limit_and_the_interval():
    assert check().reason() == (
        "pair accuracy +0.200 against the random ranking (95 % +0.100 to +0.300, needed +0 or more)"
    )


def test_a_limit_on_the_upper_end_says_so():
    assert "upper end needed +0 or more" in check(of_high=True).reason()


def test_a_change_has_no_interval():
    text = check(
        against="the last blessed model", low=math.nan, high=math.nan, limit=-0.02
    ).reason()
    assert text == "pair accuracy +0.200 against the last blessed model (needed -0.02 or more)"


@pytest.mark.parametrize("unknown", [{"difference": math.nan}, {"high": math.nan, "of_high": True}])
def test_what_is_not_known_is_said_not_printed_as_nan(unknown):
    text = check(**unknown).reason()
    assert "could not be compared with the random ranking" in text
    assert "nan" not in text
