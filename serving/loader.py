"""Loads one version: check the folder, open the session, warm up."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving import inference
from serving.batching import BatchingEngine, read_batching_settings
from serving.errors import ServingError, invalid, raise_as_serving_error
from serving.lite_engine import choose_engine
from serving.model_folder import check_model_folder
from serving.options import ServerOptions
from serving.servable import Engine, Servable
from serving.session_engine import SessionEngine
from serving.tensors import Array
from serving.text_protos import parse_text_file

log = logging.getLogger(__name__)

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000
_NICENESS = 10


class Loader:
    """Makes `Servable`s of version folders, under the server's settings.

    Attributes:
        batching: how requests are batched, None where they are not.

    Raises:
        ServingError: the session or batching file of the flags cannot be read.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._config = session_config(options)
        self._tags = options.saved_model_tags.split(",")
        self.batching = (
            read_batching_settings(options.batching_parameters_file)
            if options.enable_batching
            else None
        )
        self._batch_slots = threading.Semaphore(
            self.batching.num_batch_threads if self.batching else 1
        )

    def load(self, name: str, version: int, path: str, *, quietly: bool = False) -> Servable:
        """Load and warm up a version.

        Args:
            name: the model's name.
            version: the version's number.
            path: its folder.
            quietly: requests are being answered meanwhile: what needs the processor for long and
                not Python's lock comes after them.

        Raises:
            ServingError: it cannot be loaded, or a warm-up request fails.
        """
        started = time.monotonic()
        check_model_folder(path)
        session = SessionEngine(path, self._tags, self._config)
        engine: Engine = session
        try:
            if self._options.prefer_tflite_model:
                engine = choose_engine(
                    path, session, self._predict_runs(session, path), self._options.interpreters
                )
            if self.batching:
                engine = BatchingEngine(engine, self.batching, self._batch_slots)
            servable = Servable(name, version, engine)
            if quietly:
                _at_low_priority(session.prepare)
            else:
                session.prepare()
            if self._options.enable_model_warmup:
                self._warm_up(servable, path)
        except Exception:
            engine.close()
            raise
        log.info("Loaded %s in %.2f s", path, time.monotonic() - started)
        return servable

    def _predict_runs(
        self, engine: Engine, path: str
    ) -> Iterator[tuple[dict[str, Array], list[str]]]:
        """Feeds and fetches of a version's recorded Predict requests."""
        file = os.path.join(path, WARMUP_FILE)
        if not os.path.exists(file):
            return
        servable = Servable("", 0, engine)
        for record in itertools.islice(_records(file), MAX_WARMUP_RECORDS):
            if record.WhichOneof("log_type") == "predict_log":
                run = inference.prepare_run(servable, record.predict_log.request, self._options)
                yield run.feeds, run.fetches

    def _warm_up(self, servable: Servable, path: str) -> None:
        file = os.path.join(path, WARMUP_FILE)
        if not os.path.exists(file):
            return
        iterations = max(self._options.num_request_iterations_for_warmup, 1)
        count = 0
        for record in _records(file):
            count += 1
            if count > MAX_WARMUP_RECORDS:
                raise invalid(
                    f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {file}"
                )
            for _ in range(iterations):
                replay(servable, record, inference.Call(self._options))
        log.info("Replayed %d warm-up requests of %s", count, file)


def _at_low_priority(work: Callable[[], None]) -> None:
    """Do the work in a thread that Linux runs after others, and wait for it.

    Only for work that does not hold Python's lock: a thread that holds it while it waits for the
    processor keeps every other thread waiting, for many seconds on a busy machine.
    """

    def work_quietly() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        work()

    with ThreadPoolExecutor(1, "prepare") as pool:
        pool.submit(work_quietly).result()


def session_config(options: ServerOptions) -> Any:
    """The session settings the flags ask for."""
    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        parse_text_file(options.tensorflow_session_config_file, config)
    both = options.tensorflow_session_parallelism
    intra = options.tensorflow_intra_op_parallelism or both
    inter = options.tensorflow_inter_op_parallelism or both
    config.intra_op_parallelism_threads = intra or config.intra_op_parallelism_threads or 1
    config.inter_op_parallelism_threads = inter or config.inter_op_parallelism_threads or 1
    if options.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    return config


def replay(servable: Servable, record: Any, call: inference.Call) -> None:
    """Run one recorded request of a warm-up file.

    Args:
        record: a `PredictionLog`; the model name and version in it are not looked at.
        call: the call it counts as.

    Raises:
        ServingError: the request fails, or it is of a kind that cannot be replayed.
    """
    kind = record.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(servable, record.predict_log.request, call)
    elif kind == "classify_log":
        inference.classify(servable, record.classify_log.request, call)
    elif kind == "regress_log":
        inference.regress(servable, record.regress_log.request, call)
    elif kind == "multi_inference_log":
        inference.multi_inference(servable, record.multi_inference_log.request, call)
    else:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Unsupported log_type for warmup: {text_format.MessageToString(record)[:80]}",
        )


def _records(file: str) -> Any:
    try:
        for raw in tf.data.TFRecordDataset(file).as_numpy_iterator():
            record = prediction_log_pb2.PredictionLog()
            try:
                record.ParseFromString(raw)
            except Exception as error:
                raise invalid(f"Failed to parse warmup record: {raw[:40]!r} from {file}") from error
            yield record
    except tf.errors.DataLossError as error:
        raise ServingError(
            grpc.StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    except tf.errors.OpError as error:
        raise_as_serving_error(error)
