"""What all tests share."""

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.page_rules")

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")
