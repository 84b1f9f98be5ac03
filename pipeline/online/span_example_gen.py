"""The TFX component that makes the examples of one span."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact, artifact_utils, component_spec, standard_artifacts
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.impression_store import StoreLimits
from pipeline.online.span_examples import SPLITS, write_span_examples
from pipeline.online.spans import Span, SpanError, fingerprint

_SPAN = artifact.Property(type=artifact.PropertyType.INT)


class Impressions(artifact.Artifact):
    """An impression store, see `pipeline.online.impression_store`."""

    TYPE_NAME = "Impressions"
    PROPERTIES: ClassVar = {"span": _SPAN}


class _SpanExampleGenSpec(component_spec.ComponentSpec):
    PARAMETERS: ClassVar = {
        "span": ExecutionParameter(type=str),
        "digest": ExecutionParameter(type=str),
        "shared": ExecutionParameter(type=str),
        "dataset": ExecutionParameter(type=str),
        "holdout": ExecutionParameter(type=float),
        "limits": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {"store_before": ChannelParameter(type=Impressions, optional=True)}
    OUTPUTS: ClassVar = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "store": ChannelParameter(type=Impressions),
    }


class _Executor(base_executor.BaseExecutor):
    """Makes the examples of a span and the store after it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills both artifacts.

        Raises:
            LogError: a table cannot be read.
            SpanError: the span was learnt before, or changes while it is read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        span = Span.at(exec_properties["span"])
        if fingerprint(span).digest != exec_properties["digest"]:
            raise SpanError(
                span.path, "changed since it was taken up", "let it be complete before it is taken"
            )
        before = input_dict.get("store_before")
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        store = artifact_utils.get_single_instance(output_dict["store"])
        write_span_examples(
            span,
            DatasetConfig.from_json(exec_properties["dataset"]),
            artifact_utils.get_single_uri(before) if before else None,
            examples.uri,
            store.uri,
            holdout=exec_properties["holdout"],
            limits=StoreLimits(**json.loads(exec_properties["limits"])),
            shared=exec_properties["shared"],
        )
        examples.span = store.span = span.number
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)


class SpanExampleGen(base_component.BaseComponent):
    """ExampleGen of a span: the slates of its impressions, and the answers that came with it.

    The fingerprint of the span's files is one of its parameters: a changed span is not taken for
    one that was done already, and a span that changes between the two is refused.

    Component `outputs` contains:
     - `examples`: Channel of type `standard_artifacts.Examples` with the splits of
       `pipeline.online.span_examples.SPLITS` and the number of the span as its `span`.
     - `store`: Channel of type `Impressions`: what the next span has to know of this one.

    Args:
        span: the span, complete.
        dataset: what its tables mean.
        store: `store` of the span before; None for the first span.
        holdout: share of the users that are held out.
        limits: of the store.
        shared: folder of the users and items tables where the span brings none of its own.
            Default: the folder that the span lies in.
    """

    SPEC_CLASS = _SpanExampleGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(
        self,
        span: Span,
        dataset: DatasetConfig,
        store: BaseChannel | None = None,
        *,
        holdout: float = 0.1,
        limits: StoreLimits | None = None,
        shared: str | Path | None = None,
    ) -> None:
        inputs = {} if store is None else {"store_before": store}
        spec = _SpanExampleGenSpec(
            span=str(span.path.resolve()),
            digest=fingerprint(span).digest,
            shared=str(Path(shared or span.path.parent).resolve()),
            dataset=dataset.to_json(),
            holdout=float(holdout),
            limits=json.dumps(asdict(limits or StoreLimits())),
            examples=OutputChannel(standard_artifacts.Examples, self, "examples"),
            store=OutputChannel(Impressions, self, "store"),
            **inputs,
        )
        super().__init__(spec=spec)
