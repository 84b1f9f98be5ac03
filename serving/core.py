"""What the two transports share: every API of the server, on protos, with metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from tensorflow.core.protobuf import meta_graph_pb2  # noqa: F401  (in SignatureDefMap's Any)
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
)

from serving import inference
from serving.batching import BatchingEngine
from serving.errors import ServingError, invalid
from serving.manager import ModelManager
from serving.metrics import Metrics
from serving.options import ServerOptions
from serving.servable import Servable
from serving.tensors import Array

SIGNATURE_DEF = "signature_def"

# Yields what to run, is sent the outputs, returns the response.
_Steps = Generator["_Run", list[Array], Any]


@dataclass(frozen=True)
class _Run:
    """A run of the graph that a request asks for."""

    servable: Servable
    call: inference.Call
    feeds: dict[str, Array]
    fetches: list[str]


class ServerCore:
    """The APIs of PredictionService and ModelService, free of transport.

    Every method takes and returns protos and raises `ServingError`.
    """

    def __init__(self, options: ServerOptions, manager: ModelManager, metrics: Metrics) -> None:
        self.options = options
        self.manager = manager
        self.metrics = metrics

    def predict(self, request: Any, entrypoint: str) -> Any:
        """`PredictionService.Predict`."""
        return self._infer("Predict", inference.predict, request, request, entrypoint)

    def classify(self, request: Any, entrypoint: str) -> Any:
        """`PredictionService.Classify`."""
        return self._infer("Classify", inference.classify, request, request, entrypoint)

    def regress(self, request: Any, entrypoint: str) -> Any:
        """`PredictionService.Regress`."""
        return self._infer("Regress", inference.regress, request, request, entrypoint)

    def multi_inference(self, request: Any, entrypoint: str) -> Any:
        """`PredictionService.MultiInference`."""
        spec_of = request.tasks[0] if request.tasks else None
        return self._infer(
            "MultiInference", inference.multi_inference, request, spec_of, entrypoint
        )

    def predict_together(self, requests: Sequence[Any], entrypoint: str) -> list[Any]:
        """`PredictionService.Predict` of requests that came in together.

        Each step is taken for all of them before the next one: the code and data of a step are in
        the processor's caches by the second request, which halves what a small model costs.

        Returns:
            For each what `predict` would return or raise.
        """
        return _in_step([self._predict_steps(request, entrypoint) for request in requests])

    def _predict_steps(self, request: Any, entrypoint: str) -> _Steps:
        with self._counted("Predict", request, entrypoint) as (servable, call):
            run = inference.prepare_run(servable, request, self.options)
            outputs = yield _Run(servable, call, run.feeds, run.fetches)
            return run.response(outputs, self.options)

    def _infer(
        self,
        api: str,
        infer: Callable[[Any, Any, inference.Call], Any],
        request: Any,
        spec_holder: Any,
        entrypoint: str,
    ) -> Any:
        with self._counted(api, spec_holder, entrypoint) as (servable, call):
            return infer(servable, request, call)

    @contextmanager
    def _counted(
        self, api: str, spec_holder: Any, entrypoint: str
    ) -> Iterator[tuple[Servable, inference.Call]]:
        """The version asked for, in use, and its outcome in the metrics."""
        started = time.perf_counter()
        call = inference.Call(self.options)
        status = "OK"
        model = engine = ""
        try:
            if spec_holder is None or (
                api != "MultiInference" and not spec_holder.HasField("model_spec")
            ):
                raise invalid(
                    "ModelSpec has no name specified."
                    if api == "MultiInference"
                    else "Missing ModelSpec"
                )
            spec = spec_holder.model_spec
            if self.manager.knows(spec.name):
                # A name nobody configured gets no metric of its own: clients could make any number.
                model = spec.name
            with self.manager.acquire(spec) as servable:
                engine = servable.engine.name
                yield servable, call
        except ServingError as error:
            status = error.code.name
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            self.metrics.requests.add(model, status)
            if status == "OK":
                self.metrics.request_latency.observe(
                    (time.perf_counter() - started) * 1e6, model, api, entrypoint
                )
                self.metrics.runtime_latency.observe(call.runtime_seconds * 1e6, model, api, engine)
            if call.examples:
                self.metrics.examples.add(model, by=call.examples)

    def model_status(self, request: Any) -> Any:
        """`ModelService.GetModelStatus`."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in self.manager.statuses(request.model_spec):
            status = response.model_version_status.add(version=state.version, state=state.state)
            if state.error is None:
                status.status.error_message = ""
            else:
                status.status.error_code = state.error.code.value[0]
                status.status.error_message = state.error.message
        return response

    def model_metadata(self, request: Any) -> Any:
        """`PredictionService.GetModelMetadata`."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self.manager.acquire(request.model_spec) as servable:
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature.proto)
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    def reload_config(self, request: Any, is_wanted: Callable[[], bool]) -> Any:
        """`ModelService.HandleReloadConfigRequest`."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self.manager.reload(request.config, is_wanted)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = grpc.StatusCode.OK.value[0]
        return response


def _in_step(all_steps: Sequence[_Steps]) -> list[Any]:
    """Take requests through their steps together; for each its response or exception."""
    results: list[Any] = [None] * len(all_steps)
    runs: dict[int, _Run] = {}
    for place, steps in enumerate(all_steps):
        try:
            runs[place] = next(steps)
        except Exception as error:
            results[place] = error
    outcomes = _run_all(list(runs.values()))
    for place, outcome in zip(runs, outcomes, strict=True):
        try:
            if isinstance(outcome, Exception):
                all_steps[place].throw(outcome)
            else:
                all_steps[place].send(outcome)
        except StopIteration as end:
            results[place] = end.value
        except Exception as error:
            results[place] = error
    return results


def _run_all(runs: Sequence[_Run]) -> list[Any]:
    """The outputs of each run or its exception; where a version batches, it runs all of its own at
    once."""
    outcomes: list[Any] = [None] * len(runs)
    batched: dict[BatchingEngine, list[int]] = {}
    for place, run in enumerate(runs):
        if isinstance(run.servable.engine, BatchingEngine):
            batched.setdefault(run.servable.engine, []).append(place)
            continue
        try:
            outcomes[place] = run.call.run(run.servable, run.feeds, run.fetches)
        except Exception as error:
            outcomes[place] = error
    for engine, places in batched.items():
        started = time.perf_counter()
        ran = engine.run_together([(runs[place].feeds, runs[place].fetches) for place in places])
        elapsed = time.perf_counter() - started
        for place, outcome in zip(places, ran, strict=True):
            runs[place].call.runtime_seconds += elapsed
            outcomes[place] = outcome
    return outcomes
