"""What a closed-loop A/B test compares, in which world, for how long."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.configs import Method, RunSettings
from pipeline.logs.checked import ConfigError, build, read_yaml, require, suggest
from simulator import SimulatorConfig

METHODS = typing.get_args(Method)


@dataclass(frozen=True)
class ABSettings:
    """One test. The same settings give the same world, split and luck.

    The days of the world: `history_days` under the simulator's logging policy, of which both arms
    learn their first model; `warm_up_days` in which the arms serve and what people do is not
    counted; `days` that are.

    Attributes:
        control, treatment: a method (`pipeline.configs.Method`); or a YAML file of run settings,
            for a method with settings of its own; or a folder with `<version>/` of a model, which
            is served as it is and learns nothing.
        treatment_share: of the users.
        seed: of the world, the split, the training and the draws of the intervals.
        scenario, users, items, issue_rate, answer_rate: of the world, see `SimulatorConfig`.
        requests_per_day: of both arms together.
        spans_per_day: how often an arm's log is closed and its model trained on it; the world
            waits until it is served.
        resplits: how often the users are split anew to see how many intervals hold 0; 0: never.
    """

    control: str = "EMER"
    treatment: str = "EASQ"
    treatment_share: float = 0.5
    seed: int = 0
    scenario: str = "mild"
    users: int = 4_000
    items: int = 4_000
    requests_per_day: int = 8_000
    issue_rate: float = 0.1
    answer_rate: float = 0.17
    history_days: int = 3
    warm_up_days: int = 1
    days: int = 7
    spans_per_day: int = 1
    resplits: int = 100

    def __post_init__(self) -> None:
        share = self.treatment_share
        require(0 < share < 1, "treatment_share", share, "between 0 and 1, both excluded")
        for name in ("history_days", "days", "spans_per_day", "requests_per_day"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("warm_up_days", "resplits"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        spans = self.spans_per_day
        require(
            spans <= self.requests_per_day,
            "spans_per_day",
            spans,
            f"at most requests_per_day, which is {self.requests_per_day}",
        )
        self.world()
        for name in ("control", "treatment"):
            self.served_by(name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> ABSettings:
        """Settings from a YAML file of the fields; raises `ConfigError`."""
        return build(cls, read_yaml(path), file=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default written out."""
        return dataclasses.asdict(self)

    @property
    def all_days(self) -> int:
        """Days of the world."""
        return self.history_days + self.warm_up_days + self.days

    @property
    def first_measured_day(self) -> int:
        """The first day that counts."""
        return self.history_days + self.warm_up_days

    def world(self) -> SimulatorConfig:
        """The world; raises `SimulatorConfigError` where there can be none."""
        return SimulatorConfig(
            seed=self.seed,
            scenario=self.scenario,
            users=self.users,
            items=self.items,
            requests=self.all_days * self.requests_per_day,
            days=self.all_days,
            issue_rate=self.issue_rate,
            answer_rate=self.answer_rate,
        )

    def served_by(self, arm: str) -> RunSettings | Path:
        """How the models of an arm (`control` or `treatment`) are trained, or where they lie.

        Raises:
            ConfigError: It is none of the three.
        """
        wanted = getattr(self, arm)
        if wanted in METHODS:
            return RunSettings.from_dict(
                {
                    "trainer": {"method": wanted, "seed": self.seed},
                    # In a world where behaviour speaks against satisfaction, a ranker by behaviour
                    # does worse than chance. To find that out is what the test is for.
                    "gate": {"min_gain_over_random": -1.0},
                }
            )
        path = Path(wanted)
        if path.is_file():
            return RunSettings.from_yaml(path)
        if path.is_dir() and any(child.name.isdigit() for child in path.iterdir()):
            return path
        raise ConfigError(
            arm,
            repr(wanted),
            f"one of {', '.join(METHODS)}{suggest(wanted, METHODS)}; or a YAML file of run "
            "settings; or a folder with <version>/ of a model",
        )
