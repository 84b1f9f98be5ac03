"""TFX's Evaluator, set up for slates: examples and models in, metrics and a blessing out."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.evaluator import executor
from tfx.components.evaluator.component import Evaluator
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.channel import BaseChannel
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY, EXAMPLES_KEY
from tfx.utils import path_utils

from pipeline.configs import GateSettings
from pipeline.evaluation.eval_config import eval_config
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.record_files import require_whole


class _Executor(executor.Executor):
    """Compares with the baseline where there is one.

    A runner without optional outputs hands over an artifact without a model on a first run.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        require_whole(artifact_utils.get_single_uri(input_dict[EXAMPLES_KEY]))
        given = input_dict.get(BASELINE_MODEL_KEY, [])
        inputs = {**input_dict, BASELINE_MODEL_KEY: [one for one in given if _holds_model(one)]}
        super().Do(inputs, output_dict, exec_properties)


def _holds_model(artifact: types.Artifact) -> bool:
    folder = path_utils.serving_model_path(artifact.uri)
    return fileio.exists(os.path.join(folder, "saved_model.pb"))


class _SlateEvaluator(Evaluator):
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)


def slate_evaluator(
    *,
    examples: BaseChannel,
    schema: BaseChannel,
    model: BaseChannel,
    baseline_model: BaseChannel,
    dataset: DatasetConfig,
    gate: GateSettings,
) -> Evaluator:
    """Returns an Evaluator of the eval split.

    Args:
        examples: Slates, with an `eval` split.
        schema: Their curated schema.
        model: The candidate, with the signature `serving_examples`.
        baseline_model: The last blessed model; empty on a first run.
        dataset: What the examples were made from.
        gate: When the candidate is blessed.
    """
    return _SlateEvaluator(
        examples=examples,
        example_splits=["eval"],
        schema=schema,
        model=model,
        baseline_model=baseline_model,
        eval_config=eval_config(dataset, gate),
        # Where the executor looks for `custom_extractors`.
        module_path="pipeline.evaluation.slate_extractor",
    ).with_id("Evaluator")
