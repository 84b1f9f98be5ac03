"""When requests come: few at night, most in the evening, the same number every day."""

import numpy as np
from numpy.typing import NDArray

from simulator.config import DAY_MS, SimulatorConfig
from simulator.randomness import Floats

HOUR_MS = 3_600_000

# Requests an hour, from midnight, relative to each other.
_HOURLY = np.array(
    [5, 3, 2, 1, 1, 2, 4, 7, 8, 8, 8, 9, 12, 11, 9, 8, 8, 9, 12, 15, 18, 19, 16, 10], np.float64
)
_PASSED = np.concatenate([[0.0], np.cumsum(_HOURLY) / _HOURLY.sum()])


def request_times(config: SimulatorConfig, first: int, uniform: Floats) -> NDArray[np.int64]:
    """Times (ms) of the requests number `first` …, one per uniform number; never decreasing."""
    number = first + np.arange(len(uniform)) + uniform.astype(np.float64)
    day, share_of_day = np.divmod(number * (config.days / config.requests), 1.0)
    hour = np.interp(share_of_day, _PASSED, np.arange(25.0))
    return config.start_ms + (day * DAY_MS + hour * HOUR_MS).astype(np.int64)


def hour_of(time_ms: NDArray[np.int64]) -> NDArray[np.int8]:
    """Hour of the day, 0 to 23 (UTC)."""
    return (time_ms % DAY_MS // HOUR_MS).astype(np.int8)


def evening(hour: NDArray[np.int8]) -> Floats:
    """1 at ten in the evening, -1 at ten in the morning."""
    return np.cos((hour.astype(np.float32) - 22) * np.float32(2 * np.pi / 24))
