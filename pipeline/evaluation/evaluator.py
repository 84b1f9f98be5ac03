"""TFX's Evaluator, set up for slates: examples and models in, metrics and a blessing out."""

from __future__ import annotations

from tfx.components.evaluator.component import Evaluator
from tfx.types.channel import BaseChannel

from pipeline.configs import GateSettings
from pipeline.evaluation.eval_config import eval_config
from pipeline.logs.dataset_config import DatasetConfig


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
        baseline_model: The last blessed model; an empty channel on a first run.
        dataset: What the examples were made from.
        gate: When the candidate is blessed.
    """
    return Evaluator(
        examples=examples,
        example_splits=["eval"],
        schema=schema,
        model=model,
        baseline_model=baseline_model,
        eval_config=eval_config(dataset, gate),
        # Where the executor looks for `custom_extractors`.
        module_path="pipeline.evaluation.slate_extractor",
    )
