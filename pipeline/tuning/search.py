"""The planned trials as a search of keras-tuner, which TFX's Tuner runs; `tuner_fn` is its entry
point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from tfx.components.tuner.component import TunerFnResult

from pipeline.configs import TrainerSettings, TuningSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.tuning.bench import TrialBench, TrialResult
from pipeline.tuning.record import tuning_record
from pipeline.tuning.space import SearchSpace, Values, plan_trials

OBJECTIVE = "score"


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Returns the search.

    Args:
        fn_args: TFX's `FnArgs`, with `custom_config` = `{"dataset_config": JSON, "trainer":
            mapping, "tuning": mapping}` and the splits `train` and `answered` among the train
            files.
    """
    config = DatasetConfig.from_json(fn_args.custom_config["dataset_config"])
    tuner = SettingsTuner(
        TrainerSettings(**fn_args.custom_config["trainer"]),
        TuningSettings(**fn_args.custom_config["tuning"]),
        config,
        fn_args,
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={"verbose": 0})


class PlannedOracle(keras_tuner.Oracle):
    """Hands out planned trials in their order.

    Args:
        plan: The values of each trial.
        space: What is searched.
    """

    def __init__(self, plan: Sequence[Values], space: SearchSpace) -> None:
        declared = keras_tuner.HyperParameters()
        for tunable in space.tunables:
            tunable.declare(declared)
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "max"),
            max_trials=len(plan),
            hyperparameters=declared,
            # A trial that fails is a mistake in the data or the program, not bad luck.
            max_consecutive_failed_trials=1,
        )
        self._plan = list(plan)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the next trial."""
        return {"status": TrialStatus.RUNNING, "values": self._plan[int(trial_id)]}


class SettingsTuner(BaseTuner):
    """Searches the settings of a method.

    Args:
        settings: Of training.
        tuning: Of the search.
        config: The dataset.
        fn_args: TFX's `FnArgs`.

    Attributes:
        results: The trials that were run.
    """

    def __init__(
        self, settings: TrainerSettings, tuning: TuningSettings, config: DatasetConfig, fn_args: Any
    ) -> None:
        self._settings, self._tuning, self._config = settings, tuning, config
        self._bench = TrialBench(settings, tuning, config, fn_args)
        self._plan = plan_trials(self._bench.space, tuning.trials, tuning.seed)
        self.results: list[TrialResult] = []
        super().__init__(
            PlannedOracle(self._plan, self._bench.space),
            directory=fn_args.working_dir,
            project_name="trials",
            overwrite=True,
        )

    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> dict[str, float]:
        """Trains and judges one trial."""
        name = f"trial {len(self.results) + 1} of {len(self._plan)}"
        self.results.append(self._bench.run(trial.hyperparameters.values, name))
        return {OBJECTIVE: self.results[-1].score}

    def record(self) -> dict[str, Any]:
        """What the report tells of the search."""
        return tuning_record(
            self._bench,
            self.results,
            method=self._settings.method,
            tuning=self._tuning,
            primary=self._config.questionnaire.primary_metric,
        )
