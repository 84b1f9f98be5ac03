"""Who is asked, who answers, what and when: all of it a stated extension of the published world.

    trigger       played ≥ 7 s or ≥ half of the video
    issued        with probability issue_rate / (share of shown videos that meet the trigger),
                  of those that meet it, so that issue_rate holds over all shown videos
    answered      P = σ(b + answer_bias·s); b makes the mean over the asked `answer_rate`
    felt          s + answer_noise·ℓ
    answer        uncertain if |felt| < uncertain_band, else satisfied or dissatisfied by its sign
    delay         90 %: exponential, mean 8 s;  7 %: 10 minutes to 6 hours;  3 %: 1 to 9 days

The share and b are measured once, on a trial batch of a thousand requests of the fresh world.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.behaviour import sigmoid
from simulator.config import DAY_MS, SimulatorConfig, SimulatorConfigError
from simulator.randomness import Floats, logistic

TRIGGER_MS = 7_000
ANSWERS = ["dissatisfied", "uncertain", "satisfied"]
NO_ANSWER = -1

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS


def meets_trigger(
    played_ms: NDArray[np.int32], duration_ms: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Played at least 7 s, or at least half of the video."""
    return (played_ms >= TRIGGER_MS) | (2 * played_ms >= duration_ms)


@dataclass(frozen=True)
class Questionnaires:
    """The questionnaires issued for a batch, by request and position; every array is [issued].

    Attributes:
        row: request within the batch.
        position: of the asked-about video in the shown order.
        issued_ms: when the question appeared, the moment the trigger was met.
        answered_ms: when it was answered, or `NO_ANSWER`.
        answer: index into `ANSWERS`, or `NO_ANSWER`.
    """

    row: NDArray[np.int64]
    position: NDArray[np.int64]
    issued_ms: NDArray[np.int64]
    answered_ms: NDArray[np.int64]
    answer: NDArray[np.int8]


class Survey:
    """Asks about shown videos, at rates calibrated for one world."""

    def __init__(self, config: SimulatorConfig, triggered: NDArray[np.bool_], satisfaction: Floats):
        """Calibrates the rates on a trial batch: both arrays are [requests, exposed]."""
        eligible = float(triggered.mean())
        if config.issue_rate > eligible:
            raise SimulatorConfigError(
                "issue_rate",
                config.issue_rate,
                f"at most {eligible:.2f}, the share of shown videos that meet the trigger",
            )
        self._config = config
        self._issue = np.float32(config.issue_rate / eligible)
        self._base = _base_log_odds(
            config.answer_bias * satisfaction[triggered].astype(np.float64), config.answer_rate
        )

    def ask(
        self,
        time_ms: NDArray[np.int64],
        played_ms: NDArray[np.int32],
        duration_ms: NDArray[np.int32],
        satisfaction: Floats,
        luck: Sequence[Floats],
    ) -> Questionnaires:
        """The questionnaires of a batch.

        Args:
            time_ms: of the requests, [requests].
            played_ms, duration_ms, satisfaction: of the shown videos, [requests, exposed].
            luck: five arrays of uniform numbers, [requests, exposed].
        """
        asked = meets_trigger(played_ms, duration_ms) & (luck[0] < self._issue)
        row, position = np.nonzero(asked)
        before = np.cumsum(played_ms[row], axis=1, dtype=np.int64) - played_ms[row]
        seen = np.minimum(TRIGGER_MS, (duration_ms[asked] + 1) // 2)
        issued_ms = time_ms[row] + before[np.arange(len(row)), position] + seen

        truth, config = satisfaction[asked], self._config
        willing = sigmoid(np.float32(config.answer_bias) * truth + self._base)
        answered = luck[1][asked] < willing
        felt = truth + np.float32(config.answer_noise) * logistic(luck[2][asked])
        answer = np.where(np.abs(felt) < config.uncertain_band, 1, np.where(felt > 0, 2, 0))
        answered_ms = issued_ms + _delay_ms(luck[3][asked], luck[4][asked])
        return Questionnaires(
            row=row,
            position=position,
            issued_ms=issued_ms,
            answered_ms=np.where(answered, answered_ms, NO_ANSWER),
            answer=np.where(answered, answer, NO_ANSWER).astype(np.int8),
        )


def _delay_ms(kind: Floats, luck: Floats) -> NDArray[np.int64]:
    at_once = -8_000 * np.log(luck)
    same_day = 10 * _MINUTE_MS + luck * (6 * _HOUR_MS - 10 * _MINUTE_MS)
    days = DAY_MS * (1 + 8 * luck)
    delay = np.where(kind < 0.90, at_once, np.where(kind < 0.97, same_day, days))
    return delay.astype(np.int64) + 1


def _base_log_odds(lift: NDArray[np.float64], rate: float) -> np.float32:
    """The b for which σ(b + lift) has the mean `rate`, by bisection."""
    low, high = -40.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if np.mean(1 / (1 + np.exp(-(middle + lift)))) < rate:
            low = middle
        else:
            high = middle
    return np.float32(low)
