"""Pusher that puts a model card beside each model it pushes; no version is ever half there."""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

from tfx import types
from tfx.components.pusher import executor
from tfx.components.pusher.component import Pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types.channel import BaseChannel
from tfx.types.component_spec import ChannelParameter
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    ModelEvaluation,
    ModelRun,
    PushedModel,
)
from tfx.types.standard_component_specs import (
    CUSTOM_CONFIG_KEY,
    INFRA_BLESSING_KEY,
    PUSH_DESTINATION_KEY,
    PUSHED_MODEL_KEY,
    PusherSpec,
)
from tfx.utils import io_utils, json_utils

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report.model_card import full_fit_card, write_card
from pipeline.version_folder import new_version, next_number

# What the card tells of, beside what Pusher looks at.
_TOLD: dict[str, type[types.Artifact]] = {
    "examples": Examples,
    "statistics": ExampleStatistics,
    "model_run": ModelRun,
    "evaluation": ModelEvaluation,
}


class _Spec(PusherSpec):
    INPUTS: ClassVar = {
        **PusherSpec.INPUTS,
        **{name: ChannelParameter(type=kind) for name, kind in _TOLD.items()},
    }


class _Executor(executor.Executor):
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        card = self._card(input_dict, exec_properties)
        model = self.GetModelPath(input_dict)
        destination = json.loads(exec_properties[PUSH_DESTINATION_KEY])
        serving_dir = destination["filesystem"]["base_directory"]
        number = next_number(serving_dir, time.time())
        with new_version(serving_dir, number) as folder:
            io_utils.copy_dir(model, str(folder))
            write_card(card, str(folder), number)
            # Before the version is there: were the disk full after that, each try again would push
            # one more.
            io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(
            pushed,
            pushed_destination=f"{serving_dir.rstrip('/')}/{number}",
            pushed_version=str(number),
        )

    def _card(
        self, input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
    ) -> dict[str, Any]:
        given = {name: artifact_utils.get_single_instance(input_dict[name]) for name in _TOLD}
        examples = given["examples"]
        spans = examples.get_string_custom_property("spans")
        return full_fit_card(
            DatasetConfig.from_json(json.loads(exec_properties[CUSTOM_CONFIG_KEY])["dataset"]),
            **{name: artifact.uri for name, artifact in given.items()},
            infra_check=artifact_utils.get_single_uri(input_dict[INFRA_BLESSING_KEY]),
            logs=f"spans {spans}" if spans else examples.get_string_custom_property("logs"),
        )


class CardPusher(Pusher):
    """Like `Pusher`; each pushed version has `assets.extra/model_card.html` and `.json`.

    Args:
        model_blessing, infra_blessing, push_destination: As for `Pusher`; the infra blessing holds
            the model.
        dataset: What the examples were made from.
        **told: The outputs `examples`, `statistics`, `model_run` and `evaluation`.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(
        self,
        *,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        dataset: DatasetConfig,
        **told: BaseChannel,
    ) -> None:
        spec = _Spec(
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            push_destination=push_destination,
            custom_config=json_utils.dumps({"dataset": dataset.to_json()}),
            pushed_model=types.Channel(type=PushedModel),
            **told,
        )
        # Not Pusher's own: it knows its own inputs only.
        base_component.BaseComponent.__init__(self, spec=spec)
