"""TFX's Tuner with a record of the search beside its results."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx.components.tuner import executor
from tfx.components.tuner.component import Tuner
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import TUNER_RESULTS_KEY
from tfx.utils import io_utils

TUNING_RECORD = "tuning.json"


class SearchExecutor(executor.Executor):
    """Searches, and writes `tuning.json` into the `tuner_results` artifact as well.

    TFX's own results are a score and the values of each trial, without intervals or counts.
    """

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        tuner = executor.search(
            input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False
        )
        executor.write_best_hyperparameters(tuner, output_dict)
        folder = artifact_utils.get_single_uri(output_dict[TUNER_RESULTS_KEY])
        record = json.dumps(tuner.record(), indent=1)
        io_utils.write_string_file(os.path.join(folder, TUNING_RECORD), record)


class SettingsSearch(Tuner):
    """The component; its inputs and outputs are those of TFX's Tuner."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SearchExecutor)
