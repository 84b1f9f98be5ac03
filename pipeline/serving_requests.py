"""Requests as clients will send them, built from logged slates and the model's signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

RAW, EXAMPLES = "serving_default", "serving_examples"
SCORE = "score"
ITEM_ID = "item_id"


@dataclass(frozen=True)
class Slate:
    """One logged slate: its request id for messages, its features, its number of candidates."""

    request_id: str
    example: tf.train.Example
    size: int


def read_slates(split_folder: str, limit: int) -> list[Slate]:
    """The first slates of a split, taken evenly from its files.

    Raises:
        ValueError: There is none.
    """
    files = sorted(tf.io.gfile.glob(f"{split_folder}/*"))
    slates: list[Slate] = []
    for index, file in enumerate(files):
        share = -(-(limit - len(slates)) // (len(files) - index))
        compression = "GZIP" if file.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(file, compression).take(share).as_numpy_iterator():
            slates.append(_slate(record))
    if not slates:
        raise ValueError(f"{split_folder} holds no slate; expected TFRecords of slate examples")
    return slates


def _slate(record: bytes) -> Slate:
    example = tf.train.Example.FromString(record)
    features = example.features.feature
    request_id = features["request_id"].bytes_list.value[0].decode("utf-8", "backslashreplace")
    return Slate(request_id, example, len(features[ITEM_ID].bytes_list.value))


def read_signatures(saved_model: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures of a SavedModel, without loading it.

    Raises:
        ValueError: The folder holds no readable `saved_model.pb`.
    """
    path = saved_model / "saved_model.pb"
    try:
        proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path}: not a readable SavedModel: {error}") from error
    return dict(proto.meta_graphs[0].signature_def)


class RequestBuilder:
    """Builds Predict requests of a model.

    Args:
        model_name: The name it is served under.
        signatures: As `read_signatures` returns them.

    Raises:
        ValueError: The model lacks a signature or the output `score`.
    """

    def __init__(self, model_name: str, signatures: dict[str, meta_graph_pb2.SignatureDef]) -> None:
        for name in (RAW, EXAMPLES):
            if name not in signatures or SCORE not in signatures[name].outputs:
                found = {key: sorted(value.outputs) for key, value in sorted(signatures.items())}
                raise ValueError(
                    f"the model has the signatures and outputs {found}; expected {name} with the "
                    f"output {SCORE}"
                )
        self._model_name = model_name
        self._raw_inputs = {
            name: (tf.dtypes.as_dtype(info.dtype), len(info.tensor_shape.dim))
            for name, info in sorted(signatures[RAW].inputs.items())
        }
        (self._examples_input,) = signatures[EXAMPLES].inputs

    def raw(self, slates: Sequence[Slate]) -> predict_pb2.PredictRequest:
        """`serving_default`: a tensor a feature; `[slates]`, or `[slates, N]` for candidate lists.

        Shorter slates are padded with "" and 0, as the signature's contract says.
        """
        request = self._request(RAW)
        width = max(slate.size for slate in slates)
        for name, (dtype, rank) in self._raw_inputs.items():
            rows = [self._values(slate, name, rank) for slate in slates]
            if rank == 1:
                tensor = np.array([row[0] for row in rows], dtype=dtype.as_numpy_dtype)
            else:
                tensor = np.full((len(rows), width), b"" if dtype == tf.string else 0)
                tensor = tensor.astype(dtype.as_numpy_dtype)
                for index, row in enumerate(rows):
                    tensor[index, : len(row)] = row
            request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor, dtype=dtype))
        return request

    def examples(self, slates: Sequence[Slate]) -> predict_pb2.PredictRequest:
        """`serving_examples`: serialized examples with the features known at serving only."""
        request = self._request(EXAMPLES)
        served = []
        for slate in slates:
            example = tf.train.Example()
            for name in self._raw_inputs:
                example.features.feature[name].CopyFrom(slate.example.features.feature[name])
            served.append(example.SerializeToString(deterministic=True))
        request.inputs[self._examples_input].CopyFrom(tf.make_tensor_proto(served, tf.string))
        return request

    def _request(self, signature: str) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature
        return request

    def _values(self, slate: Slate, name: str, rank: int) -> Sequence[bytes | int | float]:
        feature = slate.example.features.feature
        if name not in feature:
            raise ValueError(
                f"{RAW} asks for {name}, which the examples do not have; they have "
                f"{', '.join(sorted(feature))}"
            )
        values = getattr(feature[name], feature[name].WhichOneof("kind")).value
        expected = 1 if rank == 1 else slate.size
        if len(values) != expected:
            raise ValueError(
                f"request {slate.request_id}: {name} has {len(values)} values, {RAW} needs "
                f"{expected}"
            )
        return values


def write_warmup(saved_model: Path, requests: Sequence[predict_pb2.PredictRequest]) -> None:
    """Writes the requests that a server replays before it calls the model AVAILABLE.

    `assets.extra/tf_serving_warmup_requests`: TFRecords of `PredictionLog`, at most 1000.
    """
    if not requests:
        return
    folder = saved_model / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString(deterministic=True))
