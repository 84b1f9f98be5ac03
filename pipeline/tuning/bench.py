"""One trial after the other: train on the older training slates, judge on the newer.

What is maximised is the dataset's primary metric, subject to a limit on behaviour: a trial whose
behaviour NDCG@10 falls further below the reference's than `tuning.behaviour_loss` scores minus the
excess, so that any trial within the limit is better than any beyond it. The reference is the
configured model with its trade-off weight at 0, a ranker by behaviour alone; where a method has no
such weight, its configured settings.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.configs import TrainerSettings, TuningSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.trainer import train_slates
from pipeline.training_session import TrainingSession, split_files
from pipeline.tuning.space import Values, compiled_part, search_space
from pipeline.tuning.validation import Judgement, ValidationSlates

# Below any other score: a metric is at least 0, and no more than 1 of behaviour can be lost.
_DIVERGED = -1.0


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        values: What was tried.
        judgement: How it ranks.
        behaviour_drop: Behaviour NDCG@10 lost against the reference; NaN if training diverged.
        score: What is maximised, see above.
        seconds: What it took.
    """

    values: Values
    judgement: Judgement
    behaviour_drop: float
    score: float
    seconds: float


def trial_score(primary: float, behaviour_drop: float, limit: float) -> float:
    """What is maximised; see the module."""
    if np.isnan(primary) or np.isnan(behaviour_drop):
        return _DIVERGED
    return primary if behaviour_drop <= limit else limit - behaviour_drop


def mean(values: NDArray[np.float64]) -> float:
    """The mean of what is defined; NaN where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class TrialBench:
    """Trains and judges one trial after the other, each from the same first weights.

    Args:
        settings: Of training; the trials differ from them in the model's settings alone.
        tuning: The share that judges, and the limit on behaviour.
        config: The dataset.
        fn_args: TFX's `FnArgs`.

    Attributes:
        space: What is searched.
        models: How many models were compiled.
        validation: The slates that judge.
        training_slates: How many train.
        reference: The judgement of the reference, once a trial was run.

    Raises:
        ValueError: The newer slates have no pair of the primary metric: they cannot judge.
    """

    def __init__(
        self, settings: TrainerSettings, tuning: TuningSettings, config: DatasetConfig, fn_args: Any
    ) -> None:
        self._started = time.monotonic()
        self._settings, self._tuning, self._config = settings, tuning, config
        self._transform_graph_path = fn_args.transform_graph_path
        self._start = os.path.join(fn_args.working_dir, "start")
        dense = split_files(fn_args.train_files, "train")
        answered = split_files(fn_args.train_files, "answered")
        self.training_slates = round(train_slates(dense) * (1 - tuning.validation_fraction))
        self.space = search_space(settings)
        self.models = 0
        self.reference: Judgement | None = None
        self._open({tunable.name: tunable.configured for tunable in self.space.compiled})
        # Read by one session for all of them: they transform alike, and tracing it takes seconds.
        self._slates = self._session.read_slates(dense, first=self.training_slates)
        self._answered = self._session.read_answered(answered)
        self.validation = ValidationSlates(self._session, config, dense, self.training_slates)
        if not self.validation.pairs:
            raise ValueError(
                f"tuning: the newest {len(self.validation):,} slates of the training period hold "
                f"no pair of answers that {config.questionnaire.primary_metric} compares. Tune on "
                f"a longer log or raise tuning.validation_fraction ({tuning.validation_fraction})"
            )

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self._started

    def run(self, values: Values, name: str) -> TrialResult:
        """Trains with these values and judges.

        Args:
            values: Of all settings of the space.
            name: For the progress.
        """
        weight = self.space.weight
        if self.reference is None and weight is not None:
            self.reference = self._judged({**values, weight.name: 0.0}, "reference")
        started = time.monotonic()
        judgement = self._judged(values, name)
        self.reference = self.reference or judgement
        drop = mean(self.reference.behaviour) - mean(judgement.behaviour)
        return TrialResult(
            values=dict(values),
            judgement=judgement,
            behaviour_drop=drop,
            score=trial_score(mean(judgement.primary), drop, self._tuning.behaviour_loss),
            seconds=round(time.monotonic() - started, 2),
        )

    def _open(self, compiled: Values) -> None:
        """Makes the compiled model current."""
        self._compiled = compiled
        self._session = TrainingSession(
            self._settings.with_model(compiled), self._config, self._transform_graph_path
        )
        self._session.save(self._start)
        self.models += 1

    def _judged(self, values: Values, name: str) -> Judgement:
        compiled = compiled_part(self.space, values)
        if compiled != self._compiled:
            self._open(compiled)
        session = self._session
        session.restore(self._start)
        if self.space.weight is not None:
            session.model.trade_off.assign(values[self.space.weight.name])
        session.learn(
            self._slates,
            self._answered,
            slates=self.training_slates,
            task=name,
        )
        return self.validation.judge(session.model)
