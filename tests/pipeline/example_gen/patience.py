"""Property tests that no busy machine fails: how long an example takes is not what they test."""

from hypothesis import HealthCheck, settings


def patiently(max_examples: int) -> settings:
    """Settings of a property test, without limits of time."""
    return settings(
        max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
