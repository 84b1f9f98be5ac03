"""The LiteRT engine: runs `model.tflite` of a version folder where that gives the same scores.

LiteRT answers a small dense model in about half the time of a TensorFlow session. Its converter may
change results, so the engine is used only after it agreed with TensorFlow on the version's own
warm-up requests; signatures and shapes it cannot run go to the session.

LiteRT has no kernel that hashes or looks up strings. A model with strings is split: the SavedModel
has a signature `lite_inputs` that takes the inputs of the served signature and gives the numbers
that the LiteRT model takes, and TensorFlow runs that part first.
"""

from __future__ import annotations

import logging
import os
import queue
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving.servable import Engine, Signature
from serving.tensors import Array

log = logging.getLogger(__name__)

LITE_FILE = "model.tflite"
# A model that is split is beside the assets: alone, as TensorFlow Serving would run it, it is half
# a model.
SPLIT_FILE = "assets.extra/split.tflite"
LITE_INPUTS = "lite_inputs"
# Largest difference to TensorFlow's outputs, absolute or relative, that counts as agreement.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class _Plan:
    """How LiteRT runs a signature; from the graph tensors that are fed and fetched.

    Attributes:
        name: the signature's name.
        aliases: LiteRT's inputs by what is fed: to the graph, or by the part that runs before.
        outputs: LiteRT's outputs by what is fetched.
        before: what the part that TensorFlow runs first is fed, by what is fed to the signature;
            empty where there is none.
    """

    name: str
    aliases: dict[str, str]
    outputs: dict[str, str]
    before: dict[str, str]


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
        self._plans: dict[tuple[str, ...], _Plan] = {}
        for name, runner in runners.items():
            plan = _plan(name, runner, self.signatures)
            if plan is not None:
                feeds = plan.before or plan.aliases
                self._plans[tuple(sorted(feeds))] = plan
        if not self._plans:
            raise ValueError(
                f"{path} shares no signature with the SavedModel: it has {sorted(runners)}"
            )

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run in LiteRT where it can, else in TensorFlow."""
        plan = self._plans.get(tuple(sorted(feeds)))
        if plan is None or any(fetch not in plan.outputs for fetch in fetches):
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
        plan = self._plans[tuple(sorted(feeds))]
        if plan.before:
            numbers = self._fallback.run(
                {plan.before[feed]: value for feed, value in feeds.items()}, list(plan.aliases)
            )
            feeds = dict(zip(plan.aliases, numbers, strict=True))
        inputs = {plan.aliases[feed]: np.asarray(value, order="C") for feed, value in feeds.items()}
        runners = self._pool.get()
        try:
            results = runners[plan.name](**inputs)
        finally:
            self._pool.put(runners)
        return [results[plan.outputs[fetch]] for fetch in fetches]

    def close(self) -> None:
        """Free both engines. No call may be under way."""
        self._pool = queue.SimpleQueue()
        self._fallback.close()


def _plan(name: str, runner: Any, signatures: Mapping[str, Any]) -> _Plan | None:
    if name not in signatures:
        return None
    signature = Signature(signatures[name])
    if set(runner.get_output_details()) != set(signature.outputs):
        return None
    outputs = {tensor: alias for alias, tensor in signature.outputs.items()}
    wanted = set(runner.get_input_details())
    if wanted == set(signature.inputs):
        aliases = {feed: alias for alias, feed in signature.inputs.items()}
        return _Plan(name, aliases, outputs, {})
    if LITE_INPUTS not in signatures:
        return None
    first = Signature(signatures[LITE_INPUTS])
    if not wanted <= set(first.outputs) or set(first.inputs) != set(signature.inputs):
        return None
    aliases = {tensor: alias for alias, tensor in first.outputs.items() if alias in wanted}
    before = {feed: first.inputs[alias] for alias, feed in signature.inputs.items()}
    return _Plan(name, aliases, outputs, before)


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
    paths = [os.path.join(version, file) for file in (LITE_FILE, SPLIT_FILE)]
    path = next(filter(os.path.exists, paths), "")
    if not path:
        log.info("No %s: serving the TensorFlow model", " or ".join(paths))
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
