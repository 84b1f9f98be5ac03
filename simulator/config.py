"""The settings of a simulated world, checked when they are made."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.scenario import SCENARIOS

DAY_MS = 86_400_000

# The two published rates (EASQ, section 4.2.4): 0.5 % of views, under 2 % of them answered.
PAPER_RATES = {"issue_rate": 0.005, "answer_rate": 0.018}


class SimulatorConfigError(ValueError):
    """A setting no world can be made from: the message names the field, its value, and the cure."""

    def __init__(self, field: str, value: object, expected: str):
        self.field = field
        super().__init__(f"simulator: {field} is {value!r}; expected {expected}")


@dataclass(frozen=True)
class SimulatorConfig:
    """One world and how long it is watched. The same config gives the same bytes.

    Attributes:
        seed: of everything random, 0 or more.
        scenario: `mild` (what people watch and what satisfies them mostly agree) or `strong`
            (ranking by engagement clearly hurts satisfaction); see `simulator.scenario`.
        users: people. Some ask far more often than others.
        items: videos over the whole time; about lifetime_days / (lifetime_days + days) of them
            are alive at any moment.
        requests: feeds asked for over `days`.
        candidates: videos proposed for one request.
        exposed: how many of them are shown, in the order of the ranking.
        days: simulated time, whole days.
        lifetime_days: how long a video stays available after its upload.
        start_ms: midnight (UTC) at which it begins, milliseconds since 1970. Default 2024-01-01.
        issue_rate: questionnaires issued per shown video, over all shown ones; only those that
            met the trigger (7 s or half of the video) are asked about.
        answer_rate: share of the issued questionnaires that is answered. The defaults are dense,
            for small runs; `SimulatorConfig.paper()` has the published ones.
        answer_bias: how much more willingly satisfied people answer: the log-odds of answering
            rise by this from true satisfaction 0 to 1. 0: no response bias.
        answer_noise: scale (logistic) of what separates the felt from the true satisfaction.
        uncertain_band: a felt satisfaction within this of 0 is answered "uncertain".
        drift: speed at which interests change. 1 is usual, 0 is a world that stands still.
    """

    seed: int = 0
    scenario: str = "mild"
    users: int = 600
    items: int = 4_000
    requests: int = 20_000
    candidates: int = 12
    exposed: int = 7
    days: int = 7
    lifetime_days: float = 14.0
    start_ms: int = 1_704_067_200_000
    issue_rate: float = 0.1
    answer_rate: float = 0.17
    answer_bias: float = 0.8
    answer_noise: float = 0.2
    uncertain_band: float = 0.15
    drift: float = 1.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SimulatorConfig":
        """A config from plain values, as YAML or JSON give them; absent fields keep defaults.

        Raises:
            SimulatorConfigError: unknown field, wrong type, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise SimulatorConfigError("config", values, "a mapping from fields to values")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                close = difflib.get_close_matches(str(name), names, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise SimulatorConfigError(
                    str(name), values[name], f"no such field; {hint}fields: {', '.join(names)}"
                )
        return cls(**values)

    @classmethod
    def paper(cls, **values: Any) -> "SimulatorConfig":
        """The published questionnaire rates (0.5 % of views issued, under 2 % answered)."""
        return cls.from_dict({**PAPER_RATES, **values})

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`, with every default written out."""
        return dataclasses.asdict(self)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, field.type)
        if self.scenario not in SCENARIOS:
            self._refuse("scenario", f"one of {', '.join(SCENARIOS)}")
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                self._refuse(name, f"a value from {low:g} to {high:g}")
        for name in ("issue_rate", "answer_rate"):
            if getattr(self, name) <= 0:
                self._refuse(name, "a value above 0")
        if self.start_ms % DAY_MS:
            self._refuse("start_ms", f"a midnight in UTC, a multiple of {DAY_MS}")
        if self.answer_rate >= 1:
            self._refuse("answer_rate", "a value below 1")
        if self.exposed > self.candidates:
            self._refuse("exposed", f"at most candidates, which is {self.candidates}")
        if self.items < self.least_items:
            self._refuse(
                "items",
                f"{self.least_items} or more, so that enough videos are alive at any time to "
                f"propose {self.candidates} candidates (or fewer candidates, or longer lives)",
            )

    @property
    def least_items(self) -> int:
        """Videos needed for two alive contenders per candidate at any moment."""
        alive_share = self.lifetime_days / (self.lifetime_days + self.days)
        return math.ceil((2 * self.candidates + 2) / alive_share)

    @property
    def requests_per_step(self) -> int:
        """Requests answered between two updates of the world: few enough that a person seldom
        asks twice in a step, many enough for numpy."""
        return min(max(256, self.users // 4), 8192)

    def _check_type(self, name: str, kind: object) -> None:
        value = getattr(self, name)
        if kind is int:
            if type(value) is not int:
                self._refuse(name, "a whole number")
        elif kind is float:
            if type(value) not in (int, float) or not math.isfinite(value):
                self._refuse(name, "a finite number")
            object.__setattr__(self, name, float(value))
        elif not isinstance(value, str):
            self._refuse(name, "text")

    def _refuse(self, name: str, expected: str) -> None:
        raise SimulatorConfigError(name, getattr(self, name), expected)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 2**63 - 1),
    ("users", 1, 50_000_000),
    ("items", 1, 50_000_000),
    ("requests", 1, 1_000_000_000),
    ("candidates", 2, 1_000),
    ("exposed", 1, 1_000),
    ("days", 1, 3_650),
    ("lifetime_days", 0.001, 3_650),
    ("start_ms", 0, 4_102_444_800_000),
    ("issue_rate", 0, 1),
    ("answer_rate", 0, 1),
    ("answer_bias", 0, 5),
    ("answer_noise", 0, 2),
    ("uncertain_band", 0, 1),
    ("drift", 0, 10),
)
