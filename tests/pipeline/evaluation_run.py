"""What TFX's Evaluator does, without its executor."""

import apache_beam as beam
import tensorflow_model_analysis as tfma
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_model_analysis.utils import config_util
from tfx_bsl.tfxio import tf_example_record

from pipeline.configs import GateSettings
from pipeline.evaluation.eval_config import eval_config
from pipeline.evaluation.slate_extractor import custom_extractors
from pipeline.logs.dataset_config import DatasetConfig
from tests.pipeline.slate_stubs import DATASET


def evaluate_models(output, models, examples, *, bundles=2):
    """Writes an evaluation of SavedModels, candidate first, then the last blessed one."""
    config = config_util.update_eval_config_with_defaults(
        eval_config(DatasetConfig.from_dict(DATASET), GateSettings()),
        has_baseline=len(models) > 1,
        rubber_stamp=True,
    )
    names = ("candidate", "baseline") if len(models) > 1 else ("",)
    shared = [
        tfma.default_eval_shared_model(path, eval_config=config, model_name=name)
        for path, name in zip(models, names, strict=True)
    ]
    shared = shared if len(shared) > 1 else shared[0]
    source = tf_example_record.TFExampleBeamRecord(
        raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN, physical_format="inmem"
    )
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.Create(examples, reshuffle=bundles > 1)
            | source.BeamSource(batch_size=max(1, len(examples) // bundles))
            | tfma.ExtractEvaluateAndWriteResults(
                eval_shared_model=shared,
                eval_config=config,
                extractors=custom_extractors(shared, config, None),
                output_path=str(output),
            )
        )
