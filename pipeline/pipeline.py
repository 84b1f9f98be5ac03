"""The pipeline: from the logs of one span to a pushed model. Readable top to bottom; every runner
takes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from pipeline.beam_options import for_tfx
from pipeline.card_pusher import CardPusher
from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.evaluation.evaluator import slate_evaluator
from pipeline.example_gen.component import LogExampleGen, Spans
from pipeline.example_validator import StoppingExampleValidator
from pipeline.infra_check import infra_check
from pipeline.kubeflow.last_pushed import LastPushedModel
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.repeatable_transform import RepeatableTransform
from pipeline.slate_schema_gen import SlateSchemaGen


def create_pipeline(
    *,
    pipeline_name: str,
    pipeline_root: str,
    data_dir: str | RuntimeParameter,
    serving_dir: str,
    dataset: DatasetConfig,
    settings: RunSettings,
    spans: Spans | None = None,
    metadata_queries: bool = True,
    metadata_connection_config: object | None = None,
) -> Pipeline:
    """Returns the TFX pipeline.

    Args:
        pipeline_name: Its name in the metadata store; the last blessed model is looked up under it.
        pipeline_root: Where artifacts go.
        data_dir: The folder of the logs, as `dataset.tables` names them, or of their spans.
        serving_dir: Where Pusher puts `<version>/`, for TF Serving or `python -m serving`.
        dataset: What the tables mean.
        settings: Everything else.
        spans: Which spans of the folder to read; `None`: the folder is one log.
        metadata_queries: Whether the runner can look for the last blessed model in ML Metadata.
            Where not, the model to beat is the newest in `serving_dir`.
        metadata_connection_config: ML Metadata's connection; `None` on runners that bring their
            own.
    """
    dataset_json = dataset.to_json()
    example_gen = LogExampleGen(data_dir=data_dir, dataset=dataset, spans=spans)
    examples = example_gen.outputs["examples"]

    # The answered split repeats slates of the train split, and is empty where nobody answered.
    statistics_gen = StatisticsGen(examples=examples, exclude_splits=["answered"])
    schema_gen = SlateSchemaGen(dataset_config=dataset_json)
    schema = schema_gen.outputs["schema"]
    example_validator = StoppingExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )

    transform = RepeatableTransform(
        examples=examples,
        schema=schema,
        preprocessing_fn="pipeline.transform.preprocessing_fn",
        custom_config={"dataset_config": dataset_json},
        splits_config=transform_pb2.SplitsConfig(analyze=["train"]),
        # The trainer applies the transform graph itself: no second copy of the data on disk.
        materialize=False,
        disable_statistics=True,
    ).with_id("Transform")
    transform.add_upstream_node(example_validator)

    training = {
        "examples": examples,
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "train_args": trainer_pb2.TrainArgs(splits=["train", "answered"]),
        "eval_args": trainer_pb2.EvalArgs(splits=["eval"]),
    }
    config = {"dataset_config": dataset_json, "trainer": dataclasses.asdict(settings.trainer)}
    search = []
    if settings.tuning.trials > 0:
        from pipeline.tuning.component import SettingsSearch

        tuning = {**config, "tuning": dataclasses.asdict(settings.tuning)}
        search = [
            SettingsSearch(
                tuner_fn="pipeline.tuning.search.tuner_fn", custom_config=tuning, **training
            )
        ]
    trainer = Trainer(
        run_fn="pipeline.trainer.run_fn",
        custom_config=config,
        hyperparameters=search[0].outputs["best_hyperparameters"] if search else None,
        **training,
    )
    model = trainer.outputs["model"]

    last_blessed = (
        Resolver(
            strategy_class=LatestBlessedModelStrategy,
            model=Channel(type=Model),
            model_blessing=Channel(type=ModelBlessing),
        ).with_id("last_blessed_model")
        if metadata_queries
        else LastPushedModel(serving_dir=serving_dir)
    )
    evaluator = slate_evaluator(
        examples=examples,
        schema=schema,
        model=model,
        baseline_model=last_blessed.outputs["model"],
        dataset=dataset,
        gate=settings.gate,
    )
    infra = infra_check(
        model=model, examples=examples, model_name=MODEL_NAME, settings=settings.infra_check
    )
    pusher = CardPusher(
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        ),
        dataset=dataset,
        examples=examples,
        statistics=statistics_gen.outputs["statistics"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
    ).with_id("Pusher")

    components: Sequence[BaseNode] = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        transform,
        *search,
        trainer,
        last_blessed,
        evaluator,
        infra,
        pusher,
    ]
    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=list(components),
        enable_cache=settings.enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=for_tfx(settings.beam_args),
    )
