"""TFX components of a span's pipeline that are online learning's own."""

# No `from __future__ import annotations` here: TFX reads the component's annotations as objects.

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tfx import types
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.standard_artifacts import (
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    ModelEvaluation,
)
from tfx.utils import path_utils

from pipeline.online.gate import judge, nothing_learnt
from pipeline.online.learner import Learner, learner_of
from pipeline.online.prequential import prequential_values
from pipeline.online.served_check import disagreement, served_scores
from pipeline.online.versions import push_version
from pipeline.plain_data import plain

PREQUENTIAL_FILE = "prequential.json"
GATE_FILE = "gate.json"


@component
def PrequentialTest(
    examples: InputArtifact[Examples],
    base_model: InputArtifact[Model],
    evaluation: OutputArtifact[ModelEvaluation],
    learner: Parameter[str],
    window: Parameter[str],
):
    """Tests the model that has not learnt the span on it; `evaluation` holds `prequential.json`.

    `window`: JSON list of the folders of the earlier evaluations that answers are averaged with.
    """
    found: Learner = learner_of(learner)
    folder = Path(evaluation.uri)
    folder.mkdir(parents=True, exist_ok=True)
    tested = found.test(base_model.uri, examples.uri, folder)
    answers = [*(found.answers_of(earlier) for earlier in json.loads(window)), tested.answers]
    document = {
        "rankers": prequential_values(
            tested.behaviour,
            answers,
            simulated=found.simulated,
            seed=found.settings.trainer.seed,
        ),
        "score_std": tested.score_std,
        "satisfaction_std": tested.satisfaction_std,
    }
    _write_json(folder / PREQUENTIAL_FILE, document)


@component
def OnlineGate(
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    blessed_model: InputArtifact[Model],
    best_model: InputArtifact[Model],
    evaluation: OutputArtifact[ModelEvaluation],
    blessing: OutputArtifact[ModelBlessing],
    infra_blessing: OutputArtifact[InfraBlessing],
    learner: Parameter[str],
    window: Parameter[str],
):
    """Decides whether the model may be pushed; `evaluation` holds `gate.json`.

    `window`: JSON list of the earlier spans' Examples artifacts.
    """
    found: Learner = learner_of(learner)
    online = found.settings.online
    verdict = nothing_learnt()
    if found.steps:
        behaviour, answers = found.compared(
            model.uri, blessed_model.uri, best_model.uri, [*json.loads(window), examples.uri]
        )
        verdict = judge(
            behaviour,
            answers,
            primary=found.dataset.questionnaire.primary_metric,
            simulated=found.simulated,
            settings=online.gate,
            seed=found.settings.trainer.seed,
        )
    Path(evaluation.uri).mkdir(parents=True, exist_ok=True)
    failure = ""
    if verdict.blessed:
        saved_model = Path(
            path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        )
        tried, _ = found.held_out(examples.uri)
        tried = tried.take(np.arange(min(online.served_check_slates, len(tried.records))))
        if tried.records:
            failure = disagreement(
                [record.request_id for record in tried.records],
                served_scores(saved_model, tried.examples),
                found.candidate_scores(model.uri, tried),
            )
    _write_json(
        Path(evaluation.uri, GATE_FILE), {**asdict(verdict), "served_check_failure": failure}
    )
    for output, passed, marker in (
        (blessing, verdict.blessed, "BLESSED"),
        (infra_blessing, verdict.blessed and not failure, "INFRA_BLESSED"),
    ):
        folder = Path(output.uri)
        folder.mkdir(parents=True, exist_ok=True)
        name = marker if passed else marker.replace("BLESSED", "NOT_BLESSED")
        (folder / name).touch()
        output.set_int_custom_property("blessed", int(passed))


class AtomicPusherExecutor(pusher_executor.Executor):
    """Pusher that gives versions by count and puts them into place in one step.

    TFX's own takes the time in seconds for the version and copies file by file.
    `custom_config["easq"]`: `{"number": …, "origin": {…}}`.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, object],
    ) -> None:
        """Pushes the model if it is blessed."""
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        os.makedirs(pushed.uri, exist_ok=True)
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = json.loads(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY])
        custom = json.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])["easq"]
        folder = push_version(
            Path(self.GetModelPath(input_dict)),
            Path(destination["filesystem"]["base_directory"]),
            custom["number"],
            custom["origin"],
        )
        self._MarkPushed(pushed, pushed_destination=str(folder), pushed_version=folder.name)


def _write_json(path: Path, document: dict) -> None:
    path.write_text(json.dumps(plain(document), allow_nan=False), encoding="utf-8")
