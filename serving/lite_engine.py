"""The LiteRT engine: runs `model.tflite` of a version folder where that gives the same scores.

LiteRT answers a small dense model in about half the time of a TensorFlow session. Its converter may
change results, so the engine is used only after it agreed with TensorFlow on the version's own
warm-up requests; signatures and shapes it cannot run go to the session.
"""

from __future__ import annotations

import logging
import os
import queue
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving.servable import Engine, Signature
from serving.tensors import Array

log = logging.getLogger(__name__)

LITE_FILE = "model.tflite"
# Largest difference to TensorFlow's outputs, absolute or relative, that counts as agreement.
TOLERANCE = 1e-5


class LiteEngine:
    """Runs the signatures of a LiteRT model, and everything else in another engine.

    Args:
        path: the `.tflite` file.
        fallback: the TensorFlow engine of the same version.
        interpreters: how many requests may run at a time.

    Raises:
        ValueError: the file is no LiteRT model, or shares no signature with the version.
    """

    name = "TFLite"

    def __init__(self, path: str, fallback: Engine, interpreters: int) -> None:
        self.signatures = fallback.signatures
        self._fallback = fallback
        self._complained = False
        self._pool: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        for _ in range(interpreters):
            self._pool.put(_runners(path))
        runners = self._pool.get()
        self._pool.put(runners)
        # By the graph tensors a run feeds: the signature, its aliases and those of its outputs.
        self._plans: dict[tuple[str, ...], tuple[str, dict[str, str], dict[str, str]]] = {}
        for name, runner in runners.items():
            if name not in self.signatures:
                continue
            signature = Signature(self.signatures[name])
            if set(runner.get_input_details()) == set(signature.inputs) and set(
                runner.get_output_details()
            ) == set(signature.outputs):
                feeds = tuple(sorted(signature.inputs.values()))
                aliases = {feed: alias for alias, feed in signature.inputs.items()}
                outputs = {tensor: alias for alias, tensor in signature.outputs.items()}
                self._plans[feeds] = (name, aliases, outputs)
        if not self._plans:
            raise ValueError(
                f"{path} shares no signature with the SavedModel: it has {sorted(runners)}"
            )

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run in LiteRT where it can, else in TensorFlow."""
        plan = self._plans.get(tuple(sorted(feeds)))
        if plan is None or any(fetch not in plan[2] for fetch in fetches):
            return self._fallback.run(feeds, fetches)
        try:
            return self.run_lite(feeds, fetches)
        except (RuntimeError, ValueError) as error:
            # A shape the converter fixed, or a wrong type, which TensorFlow words better.
            if not self._complained:
                self._complained = True
                log.warning("LiteRT could not run a request, TensorFlow does: %s", error)
            return self._fallback.run(feeds, fetches)

    def run_lite(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run in LiteRT alone.

        Raises:
            KeyError: it has no signature of these inputs or outputs.
            ValueError: an input is of the wrong type or shape.
            RuntimeError: LiteRT cannot run it.
        """
        name, aliases, outputs = self._plans[tuple(sorted(feeds))]
        inputs = {aliases[feed]: np.ascontiguousarray(value) for feed, value in feeds.items()}
        runners = self._pool.get()
        try:
            results = runners[name](**inputs)
        finally:
            self._pool.put(runners)
        return [results[outputs[fetch]] for fetch in fetches]

    def close(self) -> None:
        """Free both engines. No call may be under way."""
        self._pool = queue.SimpleQueue()
        self._fallback.close()


def choose_engine(
    version: str,
    session: Engine,
    requests: Iterable[tuple[Mapping[str, Array], list[str]]],
    interpreters: int,
) -> Engine:
    """The LiteRT engine if the version has one that agrees with TensorFlow, else TensorFlow's.

    Args:
        version: the version folder.
        session: the TensorFlow engine.
        requests: feeds and fetches of the version's warm-up requests.
        interpreters: how many requests may run at a time in LiteRT.
    """
    path = os.path.join(version, LITE_FILE)
    if not os.path.exists(path):
        log.info("No %s: serving the TensorFlow model", path)
        return session
    try:
        engine = LiteEngine(path, session, interpreters)
    except (RuntimeError, ValueError) as error:
        log.warning("%s is not used, TensorFlow serves: %s", path, error)
        return session
    compared = 0
    for feeds, fetches in requests:
        try:
            lite = engine.run_lite(feeds, fetches)
        except KeyError:
            continue  # Of another signature: the session's.
        except (RuntimeError, ValueError) as error:
            log.warning("%s is not used, TensorFlow serves: %s", path, error)
            return session
        for fetch, ours, theirs in zip(fetches, lite, session.run(feeds, fetches), strict=True):
            if not _agree(ours, theirs):
                log.warning(
                    "%s is not used, TensorFlow serves: %s differs by more than %g on a warm-up "
                    "request",
                    path,
                    fetch,
                    TOLERANCE,
                )
                return session
        compared += 1
    if not compared:
        log.warning(
            "%s is not used, TensorFlow serves: no warm-up request to compare them on", path
        )
        return session
    log.info("%s serves: it agrees with TensorFlow on %d requests", path, compared)
    return engine


def _agree(ours: Array, theirs: Array) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if ours.dtype.kind != "f":
        return bool(np.array_equal(ours, theirs))
    return bool(np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _runners(path: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        # TensorFlow says that its copy of the interpreter will move to a package of its own.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_path=path, num_threads=1)
    return {
        name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()
    }
