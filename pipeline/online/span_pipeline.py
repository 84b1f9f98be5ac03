"""The pipeline of one span: logs in, a pushed model out, readable top to bottom.

Each span is a pipeline of its own name in ML Metadata, because TFX looks an input up among all
executions of a pipeline's name: under one name a span would cost the more the more came before it.
What comes from earlier spans is imported by its folder, which finds the artifact that is there, so
that a model's lineage leads back through every span to the full fit.
"""

from __future__ import annotations

import json

from tfx.components.pusher.component import Pusher
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types.standard_artifacts import Model, TransformGraph

from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.components import AtomicPusherExecutor, OnlineGate, PrequentialTest
from pipeline.online.impression_store import StoreLimits
from pipeline.online.span_example_gen import Impressions, SpanExampleGen
from pipeline.online.spans import Span
from pipeline.online.state import OnlineFolder, OnlineState


def span_pipeline_name(dataset: DatasetConfig, sequence: int) -> str:
    """Under which ML Metadata knows the pipeline of a span."""
    return f"{MODEL_NAME}-{dataset.name}-span-{sequence}"


def create_span_pipeline(
    folder: OnlineFolder,
    state: OnlineState,
    span: Span,
    *,
    dataset: DatasetConfig,
    settings: RunSettings,
    learner: str,
) -> Pipeline:
    """Returns the TFX pipeline of a span.

    Args:
        folder: Where everything goes.
        state: Before the span.
        span: The logs.
        dataset: What the tables mean.
        settings: Of the run.
        learner: The name of the model in memory.
    """
    newest = state.newest
    sequence = newest.sequence + 1
    earlier = state.earlier_spans(settings.online.gate.window_spans - 1)

    imports: dict[str, Importer] = {}

    def imported(name: str, uri: str, kind: type) -> Importer:
        """One node an artifact, whatever it is needed for."""
        if uri not in imports:
            imports[uri] = Importer(source_uri=uri, artifact_type=kind).with_id(name)
        return imports[uri]

    transform_graph = imported("transform_graph", state.transform_graph, TransformGraph)
    base_model = imported("base_model", newest.model, Model)
    blessed_model = imported("blessed_model", state.versions[-1].model, Model)
    best_model = imported("best_model", state.best.model, Model)
    store = None
    if newest.store is not None:
        store = imported("impressions_before", newest.store, Impressions)

    example_gen = SpanExampleGen(
        span=span,
        dataset=dataset,
        store=None if store is None else store.outputs["result"],
        holdout=settings.online.holdout,
        limits=StoreLimits(
            delay_hours=settings.online.landing_delay_hours, max_bytes=settings.online.store_bytes
        ),
    )
    examples = example_gen.outputs["examples"]
    prequential = PrequentialTest(
        examples=examples,
        base_model=base_model.outputs["result"],
        learner=learner,
        window=json.dumps([commit.evaluation for commit in earlier]),
    )
    trainer = Trainer(
        run_fn="pipeline.online.trainer.run_fn",
        examples=examples,
        transform_graph=transform_graph.outputs["result"],
        base_model=base_model.outputs["result"],
        train_args=trainer_pb2.TrainArgs(splits=["train", "answered"]),
        eval_args=trainer_pb2.EvalArgs(splits=["holdout"]),
        custom_config={"learner": learner},
    )
    # First the test, then the training.
    trainer.add_upstream_node(prequential)
    model = trainer.outputs["model"]
    gate = OnlineGate(
        examples=examples,
        model=model,
        blessed_model=blessed_model.outputs["result"],
        best_model=best_model.outputs["result"],
        learner=learner,
        window=json.dumps([commit.examples for commit in earlier]),
    )
    pusher = Pusher(
        model=model,
        model_blessing=gate.outputs["blessing"],
        infra_blessing=gate.outputs["infra_blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(folder.serving_dir))
        ),
        custom_config={
            "easq": {
                "number": state.largest_version + 1,
                "origin": {"span": span.name, "sequence": sequence, "base": newest.model},
            }
        },
        custom_executor_spec=executor_spec.ExecutorClassSpec(AtomicPusherExecutor),
    )
    return Pipeline(
        pipeline_name=span_pipeline_name(dataset, sequence),
        pipeline_root=str(folder.span_root(sequence)),
        components=[*imports.values(), example_gen, prequential, trainer, gate, pusher],
        # A span that was interrupted is done anew from the last state, never half from a cache.
        enable_cache=False,
        metadata_connection_config=sqlite_metadata_connection_config(
            str(folder.workdir.metadata.resolve())
        ),
        beam_pipeline_args=list(settings.beam_args),
    )
