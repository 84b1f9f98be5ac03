"""Every setting of a run beside the dataset config, with its default, checked when it is made.

    settings = RunSettings.from_yaml("run.yaml")

A YAML file holds the fields by name, e.g.

    trainer: {method: EASQ-paper, batch_size: 128, model: {lambda_dpo: 3.0}}
    tuning: {trials: 24}
    gate: {behaviour_loss: 0.01}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.logs.checked import ConfigError, build, read_yaml, require
from pipeline.online.settings import OnlineSettings

# What the model is called by servers and clients.
MODEL_NAME = "easq"
# The trained ones of `easq_keras.models.methods`, here so that no help text waits for TensorFlow.
Method = Literal[
    "EMER",
    "EMER_s-pair",
    "EMER_s-level",
    "Imputation",
    "SAQRec",
    "SAQRec-listwise",
    "Blend",
    "EASQ",
    "EASQ-paper",
    "EASQ-w/o-LoRA",
    "EASQ-w/o-MoE",
    "EASQ-w/o-DPO",
    "EASQ-TopK",
]
# FnApiRunner runs in this process. Beam's own default first tries to download a runner binary.
IN_PROCESS_BEAM = ("--runner=FnApiRunner",)


@dataclass(frozen=True)
class TrainerSettings:
    """How the model is trained: one pass over the train split, in time order.

    Attributes:
        method: what is trained, a name of `easq_keras.models.methods`.
        model: settings of the model that differ from the method's, as JSON text; in YAML and in
            `from_dict` a mapping. The names are those of the method's settings, e.g.
            `easq_keras.models.EASQSettings`.
        batch_size: dense slates a step.
        answered_per_batch: answered slates a step, fresh and replayed; 0 trains without answers.
        replay: whether answered rows that no fresh answer fills replay earlier ones. None: as the
            method has it (`EASQ` replays, `EASQ-paper` does not), but never where answers are a
            behaviour that everybody can show (`questionnaire.unanswered: middle`).
        replay_memory: how many earlier answers go on being replayed when training continues with
            another span of the log; the newest are kept.
        seed: of the initial weights and the replay.
        steps_per_execution: steps compiled into one call.
        jit_compile: whether XLA compiles the step: half a minute once, and faster ever after. Of
            one worker only.
        workers: how many share a step of the Trainer on this host, each an equal part of its rows:
            so many GPUs, or processes where there is no GPU. Leave 1 where `TF_CONFIG` names the
            workers of a cluster. Tuning and online learning always take one.
        checkpoint_every: steps after which several workers keep a checkpoint, to go on from when
            one of them dies; 0: never.
    """

    method: Method = "EASQ"
    model: str = "{}"
    batch_size: int = 32
    answered_per_batch: int = 32
    replay: bool | None = None
    replay_memory: int = 10_000
    seed: int = 0
    steps_per_execution: int = 16
    jit_compile: bool = True
    workers: int = 1
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        rows = self.answered_per_batch
        require(rows >= 0, "answered_per_batch", rows, "0 or more")
        memory = self.replay_memory
        require(memory >= 0, "replay_memory", memory, "0 or more")
        require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2**31 - 1")
        steps = self.steps_per_execution
        require(steps >= 1, "steps_per_execution", steps, "1 or more")
        require(self.workers >= 1, "workers", self.workers, "1 or more")
        every = self.checkpoint_every
        require(every >= 0, "checkpoint_every", every, "0 or more")
        require(isinstance(json.loads(self.model), dict), "model", self.model, "a JSON object")

    @property
    def model_overrides(self) -> dict[str, Any]:
        """The settings of the model that differ from the method's."""
        return json.loads(self.model)

    def with_model(self, changes: Mapping[str, Any]) -> TrainerSettings:
        """The same with some settings of the model changed."""
        model = json.dumps({**self.model_overrides, **changes}, sort_keys=True)
        return dataclasses.replace(self, model=model)


@dataclass(frozen=True)
class TuningSettings:
    """The search for the settings of the model, on the last part of the training period.

    Attributes:
        trials: settings to try; 0: no search, the model is trained as `trainer` says.
        validation_fraction: share of the training slates, the newest, that judge and do not train.
        behaviour_loss: how far behaviour NDCG@10 may fall below that of the same model with its
            trade-off weight at 0.
        seed: of what is drawn.
    """

    trials: int = 0
    validation_fraction: float = 0.2
    behaviour_loss: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.trials >= 0, "trials", self.trials, "0 or more")
        share = self.validation_fraction
        require(0 < share < 1, "validation_fraction", share, "between 0 and 1, both excluded")
        loss = self.behaviour_loss
        require(0 <= loss <= 1, "behaviour_loss", loss, "between 0 and 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2**31 - 1")


@dataclass(frozen=True)
class GateSettings:
    """When a trained model is blessed. Each limit is on the whole eval split.

    Attributes:
        satisfaction_loss: how far the primary metric (`questionnaire.primary_metric` of the
            dataset) may fall below the last blessed model's.
        behaviour_loss: how far behaviour NDCG@10 may fall below the last blessed model's.
        min_gain_over_random: how far the primary metric must exceed the random ranking's.
    """

    satisfaction_loss: float = 0.02
    behaviour_loss: float = 0.02
    min_gain_over_random: float = 0.0

    def __post_init__(self) -> None:
        for name in ("satisfaction_loss", "behaviour_loss"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "between 0 and 1")
        gain = self.min_gain_over_random
        require(-1 <= gain <= 1, "min_gain_over_random", gain, "between -1 and 1")


@dataclass(frozen=True)
class InfraCheckSettings:
    """The trial of the exported model in a fresh server process.

    Attributes:
        requests: slates of the eval split replayed through each signature.
        warmup_requests: of these, how many go into the warm-up file beside the model.
        timeout_seconds: for the server to become ready.
    """

    requests: int = 64
    warmup_requests: int = 16
    timeout_seconds: int = 120

    def __post_init__(self) -> None:
        require(self.requests >= 1, "requests", self.requests, "1 or more")
        # TF Serving reads no more records than this of a warm-up file.
        limit = min(self.requests, 1000)
        records = self.warmup_requests
        require(0 <= records <= limit, "warmup_requests", records, f"between 0 and {limit}")
        seconds = self.timeout_seconds
        require(seconds >= 1, "timeout_seconds", seconds, "1 or more")


@dataclass(frozen=True)
class RunSettings:
    """All settings of one pipeline run.

    Attributes:
        trainer, tuning, gate, infra_check, online: see there.
        beam_args: options of the Beam pipelines, e.g. `["--runner=FnApiRunner"]`.
        enable_cache: whether a component whose inputs did not change is taken from the last run.
    """

    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    infra_check: InfraCheckSettings = field(default_factory=InfraCheckSettings)
    online: OnlineSettings = field(default_factory=OnlineSettings)
    beam_args: tuple[str, ...] = IN_PROCESS_BEAM
    enable_cache: bool = True

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, file: str | None = None) -> RunSettings:
        """Settings from plain data; raises `ConfigError` on an unknown key or a wrong value."""
        trainer = values.get("trainer")
        if isinstance(trainer, dict) and isinstance(trainer.get("model"), dict):
            trainer = {**trainer, "model": json.dumps(trainer["model"], sort_keys=True)}
            values = {**values, "trainer": trainer}
        return build(cls, values, file=file)

    @classmethod
    def from_yaml(cls, path: str | Path) -> RunSettings:
        """Settings from a YAML file; raises `ConfigError`."""
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise ConfigError("", repr(values), "a mapping of settings", str(path))
        return cls.from_dict(values, file=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default written out; the inverse of `from_dict`."""
        values = dataclasses.asdict(self)
        values["trainer"]["model"] = self.trainer.model_overrides
        values["beam_args"] = list(self.beam_args)
        return values
