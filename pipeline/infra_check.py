"""Serves the exported model in a fresh process and replays real requests before it may be pushed.

TFX's own InfraValidator needs docker or Kubernetes. This component does its work with the embedded
server, and more: both signatures must answer, with finite and equal scores, for slates alone and
for padded batches; the server has to load the warm-up file too. What passed is kept in the blessing
artifact, warm-up file included, and that copy is what Pusher pushes.
"""

# No `from __future__ import annotations` here: TFX reads the component's annotations as objects.

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model
from tfx.utils import io_utils, path_utils

from pipeline.configs import InfraCheckSettings
from pipeline.server_process import ServerProcess, ServingError
from pipeline.serving_requests import (
    EXAMPLES,
    RAW,
    SCORE,
    RequestBuilder,
    Slate,
    read_signatures,
    read_slates,
    write_warmup,
)

RESULT_FILE = "infra_check.json"
_TOLERANCE = 1e-5
_BATCH = 8


@dataclass(frozen=True)
class InfraCheckResult:
    """What the check found; written as `infra_check.json` into the blessing artifact.

    Attributes:
        passed: Whether the model may be pushed.
        failure: Why not; the server's last log lines included.
        requests: Slates replayed through each signature.
        warmup_requests: Records in the warm-up file.
        seconds_to_available: From the start of the process until AVAILABLE.
        latency_ms: Signature → `p50` and `p99` of the answered requests of one slate.
        max_difference: The largest difference between the signatures' scores of a candidate.
    """

    passed: bool
    failure: str
    requests: int
    warmup_requests: int
    seconds_to_available: float | None
    latency_ms: dict[str, dict[str, float]]
    max_difference: float | None


def infra_check(
    *,
    model: BaseChannel,
    examples: BaseChannel,
    model_name: str,
    settings: InfraCheckSettings,
) -> BaseComponent:
    """Returns the component; its output `blessing` goes to Pusher's `infra_blessing`."""
    return InfraCheck(
        model=model,
        examples=examples,
        model_name=model_name,
        requests=settings.requests,
        warmup_requests=settings.warmup_requests,
        timeout_seconds=settings.timeout_seconds,
    )


@component
def InfraCheck(
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: OutputArtifact[InfraBlessing],
    model_name: Parameter[str],
    requests: Parameter[int],
    warmup_requests: Parameter[int],
    timeout_seconds: Parameter[int],
):
    """The pipeline component; see `infra_check`.

    `blessing` holds INFRA_BLESSED or INFRA_NOT_BLESSED, `infra_check.json`, and, where blessed, the
    model with its warm-up file; the custom properties are those that Pusher reads.
    """
    serving_model = path_utils.serving_model_path(
        model.uri, path_utils.is_old_model_artifact(model)
    )
    with tempfile.TemporaryDirectory(prefix="infra_check_") as scratch:
        tried = Path(scratch, model_name, "1")
        io_utils.copy_dir(serving_model, str(tried))
        result = check_model(
            tried,
            model_name=model_name,
            slates=read_slates(artifact_utils.get_split_uri([examples], "eval"), requests),
            warmup_requests=warmup_requests,
            timeout_seconds=timeout_seconds,
        )
        if result.passed:
            io_utils.copy_dir(str(tried), path_utils.stamped_model_path(blessing.uri))
    marker = "INFRA_BLESSED" if result.passed else "INFRA_NOT_BLESSED"
    io_utils.write_string_file(os.path.join(blessing.uri, marker), "")
    io_utils.write_string_file(
        os.path.join(blessing.uri, RESULT_FILE), json.dumps(asdict(result), indent=1)
    )
    blessing.set_int_custom_property("blessed", int(result.passed))
    blessing.set_int_custom_property("has_model", int(result.passed))


def check_model(
    saved_model: Path,
    *,
    model_name: str,
    slates: list[Slate],
    warmup_requests: int,
    timeout_seconds: float,
) -> InfraCheckResult:
    """Serves a model and replays slates through both signatures.

    Args:
        saved_model: `<base>/<version>`; gets the warm-up file.
        model_name: The name it is served under, also in the warm-up requests.
        slates: What is replayed.
        warmup_requests: Records of the warm-up file, of both signatures in turn.
        timeout_seconds: For the server to become ready.
    """
    trial = _Trial(model_name, slates)
    try:
        trial.run(saved_model, warmup_requests, timeout_seconds)
    except (ServingError, ValueError) as error:
        return trial.result(failure=str(error), warmup_requests=0)
    return trial.result(failure="", warmup_requests=min(warmup_requests, 2 * len(slates)))


class _Trial:
    def __init__(self, model_name: str, slates: list[Slate]) -> None:
        self._model_name = model_name
        self._slates = slates
        self._answered = 0
        self._seconds_to_available: float | None = None
        self._latencies: dict[str, list[float]] = {EXAMPLES: [], RAW: []}
        self._max_difference: float | None = None

    def run(self, saved_model: Path, warmup_requests: int, timeout_seconds: float) -> None:
        builder = RequestBuilder(self._model_name, read_signatures(saved_model))
        builds = (builder.raw, builder.examples)
        warmup = [build([slate]) for slate in self._slates for build in builds]
        write_warmup(saved_model, warmup[:warmup_requests])
        log_file = saved_model.parent.parent / "server.log"
        with ServerProcess(saved_model.parent, self._model_name, log_file) as server:
            self._seconds_to_available = server.wait_until_available(timeout_seconds)
            scores = [self._score_alone(server, builder, slate) for slate in self._slates]
            for start in range(0, len(self._slates), _BATCH):
                batch = self._slates[start : start + _BATCH]
                self._compare_batch(server, builder, batch, scores[start : start + _BATCH])

    def result(self, *, failure: str, warmup_requests: int) -> InfraCheckResult:
        return InfraCheckResult(
            passed=not failure,
            failure=failure,
            requests=self._answered,
            warmup_requests=warmup_requests,
            seconds_to_available=self._seconds_to_available,
            latency_ms={
                signature: {
                    "p50": float(np.percentile(latencies, 50)),
                    "p99": float(np.percentile(latencies, 99)),
                }
                for signature, latencies in self._latencies.items()
                if latencies
            },
            max_difference=self._max_difference,
        )

    def _score_alone(
        self, server: ServerProcess, builder: RequestBuilder, slate: Slate
    ) -> np.ndarray:
        by_signature = {}
        for signature, build in ((EXAMPLES, builder.examples), (RAW, builder.raw)):
            request = build([slate])
            started = time.perf_counter()
            (by_signature[signature],) = _scores(server, signature, request, [slate])
            self._latencies[signature].append(1000 * (time.perf_counter() - started))
        self._compare(slate, by_signature[EXAMPLES], by_signature[RAW], f"{EXAMPLES} and {RAW}")
        self._answered += 1
        return by_signature[RAW]

    def _compare_batch(
        self,
        server: ServerProcess,
        builder: RequestBuilder,
        batch: list[Slate],
        alone: list[np.ndarray],
    ) -> None:
        for signature, build in ((EXAMPLES, builder.examples), (RAW, builder.raw)):
            rows = _scores(server, signature, build(batch), batch)
            for slate, expected, scores in zip(batch, alone, rows, strict=True):
                what = f"{RAW} alone and {signature} in a batch of {len(batch)}"
                self._compare(slate, expected, scores, what)

    def _compare(self, slate: Slate, one: np.ndarray, other: np.ndarray, what: str) -> None:
        difference = np.abs(one - other)
        self._max_difference = max(self._max_difference or 0.0, float(difference.max()))
        wrong = difference > _TOLERANCE * np.maximum(1.0, np.abs(one))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"request {slate.request_id}, candidate {place} of {slate.size}: {what} disagree: "
                f"{one[place]:.7g} and {other[place]:.7g} (allowed: {_TOLERANCE:g} of the score). "
                "The signatures must apply the same transform and the same model, and padding must "
                "not reach other candidates"
            )


def _scores(
    server: ServerProcess, signature: str, request: Any, slates: list[Slate]
) -> list[np.ndarray]:
    """Sends a request; returns the checked scores of each slate's candidates."""
    asked = f"{signature} with {len(slates)} slate(s), first request {slates[0].request_id}"
    try:
        response = server.predict(request)
    except ServingError as error:
        raise ServingError(f"{asked}: {error}") from error
    if SCORE not in response.outputs:
        raise ValueError(f"{asked}: the answer holds {sorted(response.outputs)}, not {SCORE}")
    scores = tf.make_ndarray(response.outputs[SCORE])
    width = max(slate.size for slate in slates)
    # `serving_examples` pads to the model's width, which may be more than the widest slate sent.
    fits = scores.ndim == 2 and len(scores) == len(slates) and scores.shape[1] >= width
    if not fits or (signature == RAW and scores.shape[1] != width):
        raise ValueError(
            f"{asked}: the scores have the shape {list(scores.shape)}; expected "
            f"[{len(slates)}, {width}{' or more' if signature == EXAMPLES else ''}]"
        )
    rows = [row[: slate.size] for row, slate in zip(scores, slates, strict=True)]
    for slate, row in zip(slates, rows, strict=True):
        if not np.isfinite(row).all():
            place = int(np.argmin(np.isfinite(row)))
            raise ValueError(
                f"{signature}, request {slate.request_id}: candidate {place} of {slate.size} got "
                f"the score {row[place]}; expected a finite number"
            )
    return rows
