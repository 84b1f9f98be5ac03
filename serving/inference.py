"""Answers Predict, Classify, Regress and MultiInference on one loaded version.

Transport-free: gRPC, REST and the warm-up all come through here. Every check, code and text is
TensorFlow Serving's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import tensors
from serving.errors import ServingError, failed_precondition, invalid
from serving.options import ServerOptions
from serving.servable import Servable, Signature
from serving.tensors import Array

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INPUTS = "inputs"
OUTPUTS = "outputs"
CLASSES = "classes"
SCORES = "scores"


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


class Call:
    """One call of an API: the settings it runs under, and what it took.

    Attributes:
        options: `enable_signature_method_name_check` and `enable_serialization_as_tensor_content`
            are looked at.
        runtime_seconds: time spent running the graph.
        examples: number of `tf.Example`s in the request.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.runtime_seconds = 0.0
        self.examples = 0

    def run(self, servable: Servable, feeds: dict[str, Array], fetches: list[str]) -> list[Array]:
        """Run the graph and take the time."""
        started = time.perf_counter()
        outputs = servable.engine.run(feeds, fetches)
        self.runtime_seconds += time.perf_counter() - started
        return outputs


def predict(servable: Servable, request: Any, call: Call) -> Any:
    """Run a signature on named tensors.

    Args:
        servable: the version to run.
        request: a `PredictRequest`.
        call: the call it belongs to.

    Returns:
        A `PredictResponse` with the outputs asked for, or all of them.

    Raises:
        ServingError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for wrong
            inputs or output filter, and whatever the graph itself says.
    """
    run = prepare_run(servable, request, call.options)
    return run.response(call.run(servable, run.feeds, run.fetches), call.options)


class PredictRun:
    """What a `PredictRequest` makes the graph do, and the response to it.

    Attributes:
        feeds: values by graph tensor name.
        fetches: graph tensor names of the outputs asked for.
    """

    def __init__(self, servable: Servable, name: str, signature: Signature, request: Any) -> None:
        self._servable = servable
        self._name = name
        self.feeds = _feeds(signature, request.inputs)
        self._aliases = _wanted_outputs(signature, request.output_filter)
        self.fetches = [signature.outputs[alias] for alias in self._aliases]

    def response(self, outputs: list[Array], options: ServerOptions) -> Any:
        """The `PredictResponse` of the fetched outputs."""
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, self._servable, self._name)
        as_content = options.enable_serialization_as_tensor_content
        for alias, output in zip(self._aliases, outputs, strict=True):
            tensors.fill_proto(response.outputs[alias], output, as_content=as_content)
        return response


def prepare_run(servable: Servable, request: Any, options: ServerOptions) -> PredictRun:
    """Check a `PredictRequest` and read its tensors.

    Raises:
        ServingError: as `predict`, but for what the graph says.
    """
    name, signature = _predict_signature(servable, request.model_spec)
    if options.enable_signature_method_name_check and signature.method_name not in (
        PREDICT,
        CLASSIFY,
        REGRESS,
    ):
        raise ServingError(
            grpc.StatusCode.INTERNAL,
            "Expected prediction signature method_name to be one of "
            f"{{{PREDICT}, {CLASSIFY}, {REGRESS}}}. Was: {signature.method_name}",
        )
    return PredictRun(servable, name, signature, request)


def _predict_signature(servable: Servable, spec: Any) -> tuple[str, Signature]:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    return name, signature


def _feeds(signature: Signature, inputs: Any) -> dict[str, Array]:
    expected = signature.inputs
    defaults = signature.defaults
    if len(inputs) > len(expected) or (len(inputs) < len(expected) and not defaults):
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(expected)} "
            f"len({_braced(inputs)}) != len({_braced(expected)}). "
            f"Sent extra: {_braced(set(inputs) - set(expected))}. "
            f"Missing but required: {_braced(set(expected) - set(inputs))}."
        )
    feeds: dict[str, Array] = {}
    seen = 0
    for alias, feed in expected.items():
        if alias in inputs:
            proto = inputs[alias]
            seen += 1
        elif alias in defaults:
            proto = defaults[alias]
        else:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {feed}) not found in request and no "
                "default value provided. Inputs expected to be in the request "
                f"{_braced(inputs)}, or default input alias set: {','.join(sorted(defaults))}"
            )
        try:
            feeds[feed] = tensors.to_array(proto)
        except ValueError as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from error
    if seen != len(inputs):
        used = ",".join(sorted(set(inputs) & set(expected)))
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {used}, "
            f"request input: {','.join(sorted(inputs))}"
        )
    return feeds


def _wanted_outputs(signature: Signature, output_filter: Any) -> list[str]:
    if not output_filter:
        return list(signature.outputs)
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_braced(signature.outputs)}."
            )
        if alias in wanted:
            raise invalid(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted


def _fill_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    spec.name = servable.name
    spec.signature_name = signature_name or DEFAULT_SIGNATURE
    spec.version.value = servable.version


def classify(servable: Servable, request: Any, call: Call) -> Any:
    """Run a classification signature on `tf.Example`s.

    Returns:
        A `ClassificationResponse`: for each example its classes, with label and score where the
        signature has them.

    Raises:
        ServingError: as TensorFlow Serving.
    """
    signature = _signature_of_examples(servable, request.model_spec)
    _check_method(signature, CLASSIFY, "classification", call)
    names = _classification_names(signature)
    examples = examples_of(request.input)
    outputs = _run_examples(servable, signature, examples, names, call)
    response = classification_pb2.ClassificationResponse()
    _fill_spec(response.model_spec, servable, request.model_spec.signature_name)
    _fill_classifications(response.result, signature, len(examples), outputs)
    return response


def regress(servable: Servable, request: Any, call: Call) -> Any:
    """Run a regression signature on `tf.Example`s.

    Returns:
        A `RegressionResponse` with one value an example.

    Raises:
        ServingError: as TensorFlow Serving.
    """
    signature = _signature_of_examples(servable, request.model_spec)
    _check_method(signature, REGRESS, "regression", call)
    names = _regression_names(signature)
    examples = examples_of(request.input)
    outputs = _run_examples(servable, signature, examples, names, call)
    response = regression_pb2.RegressionResponse()
    _fill_spec(response.model_spec, servable, request.model_spec.signature_name)
    _fill_regressions(response.result, signature, len(examples), outputs)
    return response


def multi_inference(servable: Servable, request: Any, call: Call) -> Any:
    """Run several classification and regression signatures on the same `tf.Example`s, at once.

    Returns:
        A `MultiInferenceResponse` with one result a task, in their order.

    Raises:
        ServingError: as TensorFlow Serving.
    """
    model = ""
    feed = ""
    seen: set[str] = set()
    wanted: set[str] = set()
    for task in request.tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if model and spec.name != model:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        model = spec.name
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = servable.signatures.get(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            _check_method(signature, CLASSIFY, "classification", call)
            wanted.update(_classification_names(signature))
        elif task.method_name == REGRESS:
            _check_method(signature, REGRESS, "regression", call)
            wanted.update(_regression_names(signature))
        else:
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        task_feed = signature.inputs[INPUTS]
        if feed and task_feed != feed:
            raise invalid("Input tensor must be the same for all Signatures.")
        feed = task_feed
    examples = examples_of(request.input)
    names = sorted(wanted)
    call.examples = len(examples)
    values = call.run(servable, {feed: _example_tensor(examples)}, names)
    outputs = dict(zip(names, values, strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        result = response.results.add()
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures[name]
        _fill_spec(result.model_spec, servable, name)
        if task.method_name == CLASSIFY:
            _fill_classifications(result.classification_result, signature, len(examples), outputs)
        else:
            _fill_regressions(result.regression_result, signature, len(examples), outputs)
    return response


def examples_of(request_input: Any) -> list[bytes]:
    """The serialised examples of an `Input`, each after the shared context where there is one.

    Raises:
        ServingError: INVALID_ARGUMENT where there is none.
    """
    kind = request_input.WhichOneof("kind")
    examples: list[bytes] = []
    if kind == "example_list":
        examples = [example.SerializeToString() for example in request_input.example_list.examples]
    elif kind == "example_list_with_context":
        shared = request_input.example_list_with_context
        context = shared.context.SerializeToString()
        # Two serialised messages one after the other are the two merged.
        examples = [context + example.SerializeToString() for example in shared.examples]
    if not examples:
        raise invalid("Input is empty.")
    return examples


def _example_tensor(examples: list[bytes]) -> Array:
    return tensors.string_array(examples, (len(examples),))


def _run_examples(
    servable: Servable, signature: Signature, examples: list[bytes], names: list[str], call: Call
) -> dict[str, Array]:
    feed = signature.inputs[INPUTS]
    call.examples = len(examples)
    outputs = call.run(servable, {feed: _example_tensor(examples)}, names)
    return dict(zip(names, outputs, strict=True))


def _signature_of_examples(servable: Servable, spec: Any) -> Signature:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    return signature


def _check_method(signature: Signature, method: str, kind: str, call: Call) -> None:
    if call.options.enable_signature_method_name_check and signature.method_name != method:
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        )


def _classification_names(signature: Signature) -> list[str]:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise failed_precondition(
            f"No classification inputs found in SignatureDef: {signature.proto}"
        )
    names = [signature.outputs[key] for key in (CLASSES, SCORES) if key in signature.outputs]
    if not names:
        raise failed_precondition(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature.proto}'
        )
    return names


def _regression_names(signature: Signature) -> list[str]:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise failed_precondition(f"No regression inputs found in SignatureDef: {signature.proto}")
    if OUTPUTS not in signature.outputs:
        raise failed_precondition(f"No regression outputs found in SignatureDef: {signature.proto}")
    return [signature.outputs[OUTPUTS]]


def _dtype(array: Array) -> str:
    return (
        "DT_STRING"
        if array.dtype == object
        else f"DT_{array.dtype.name.upper()}".replace("DT_FLOAT32", "DT_FLOAT").replace(
            "DT_FLOAT64", "DT_DOUBLE"
        )
    )


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _fill_classifications(
    result: Any, signature: Signature, count: int, outputs: dict[str, Array]
) -> None:
    found: dict[str, Array] = {}
    for key, dtype, type_name in ((CLASSES, object, "DT_STRING"), (SCORES, "float32", "DT_FLOAT")):
        if key not in signature.outputs:
            continue
        array = outputs[signature.outputs[key]]
        if array.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
            )
        if array.dtype != dtype:
            raise invalid(f"Expected {key} Tensor of {type_name}. Got: {_dtype(array)}")
        if len(array) != count:
            raise invalid(f"Expected {key} output batch size of {count}. Got: {len(array)}")
        found[key] = array
    classes = found.get(CLASSES)
    scores = found.get(SCORES)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(count):
        classifications = result.classifications.add()
        labels = classes[row].tolist() if classes is not None else None
        values = scores[row].tolist() if scores is not None else None
        for column in range(len(labels if labels is not None else values or [])):
            one = classifications.classes.add()
            if labels is not None:
                # The field is text: bytes that are none are shown, not refused.
                one.label = labels[column].decode("utf-8", "replace")
            if values is not None:
                one.score = values[column]


def _fill_regressions(
    result: Any, signature: Signature, count: int, outputs: dict[str, Array]
) -> None:
    array = outputs[signature.outputs[OUTPUTS]]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != "float32":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    for value in array.ravel().tolist():
        result.regressions.add().value = value
