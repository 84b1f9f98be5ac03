"""Runs a SavedModel in a TensorFlow session, the way TensorFlow Serving does.

The session is the fast path: one `session.run` of a loaded graph costs about half of calling the
loaded signature function, and a prepared callable that runs in the caller's thread a third of
that again. It loads TF1 and TF2 SavedModels alike, with their tables and initialisers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.saved_model import loader_impl

from serving.errors import ServingError, not_found, raise_as_serving_error
from serving.graph_pruning import prune_functions, skip_shape_inference
from serving.tensors import Array

# Prepared callables kept per model: one for each set of fed inputs and wanted outputs. Clients
# choose the outputs, so the number must be bounded.
_MAX_CALLABLES = 256

Run = Callable[..., list[Any]]


class SessionEngine:
    """A loaded SavedModel.

    Args:
        path: the version folder, with `saved_model.pb`.
        tags: tags of the meta graph to load.
        config: session settings (threads, GPU memory).

    Raises:
        ServingError: the folder cannot be loaded; the code and text are TensorFlow's.
    """

    name = "TF1"

    def __init__(self, path: str, tags: Sequence[str], config: Any) -> None:
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Run] = {}
        self._lock = threading.Lock()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta_graph = _load(self._session, tags, path)
        except Exception as error:
            self._session.close()
            raise_as_serving_error(_plain_load_error(error, path, tags))
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)

    def prepare(self) -> None:
        """Optimise the graph of every signature now rather than in the first request."""
        for signature in self.signatures.values():
            if signature.inputs and signature.outputs:
                # In the order of their aliases, as requests come.
                self._callable(
                    tuple(dict.fromkeys(info.name for _, info in sorted(signature.inputs.items()))),
                    tuple(info.name for _, info in sorted(signature.outputs.items())),
                )

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the graph.

        Args:
            feeds: values by graph tensor name, such as `serving_default_x:0`.
            fetches: graph tensor names of the wanted outputs.

        Returns:
            The outputs in the order of `fetches`.

        Raises:
            ServingError: with TensorFlow's own code and text.
        """
        try:
            outputs = self._callable(tuple(feeds), tuple(fetches))(*feeds.values())
        except Exception as error:
            raise_as_serving_error(error)
        return [np.asarray(output) for output in outputs]

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Run:
        key = (feeds, fetches)
        run = self._callables.get(key)
        if run is None:
            with self._lock:
                run = self._callables.get(key)
                if run is None:
                    run = _make_callable(self._session, feeds, fetches)
                    if len(self._callables) >= _MAX_CALLABLES:
                        self._callables.pop(next(iter(self._callables)))
                    self._callables[key] = run
        return run

    def close(self) -> None:
        """Free the session. No call may be under way."""
        self._callables.clear()
        self._session.close()


def _load(session: Any, tags: Sequence[str], path: str) -> Any:
    """Load into the session's graph; returns the meta graph.

    Importing a graph holds Python's lock, so the graph is first made as light as it can be.
    """
    loader = loader_impl.SavedModelLoader(path)
    saved_model = getattr(loader, "_saved_model", None)
    if saved_model is not None:
        for meta_graph in saved_model.meta_graphs:
            prune_functions(meta_graph.graph_def)
            skip_shape_inference(meta_graph.graph_def)
    return loader.load(session, tags)


def _make_callable(session: Any, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Run:
    make = getattr(session, "_make_callable_from_options", None)
    if make is None:
        # The public way, for a TensorFlow without the private one: slower, same results.
        def run(*values: Array) -> list[Any]:
            outputs: list[Any] = session.run(list(fetches), dict(zip(feeds, values, strict=True)))
            return outputs

        return run
    options = config_pb2.CallableOptions()
    options.feed.extend(feeds)
    different = list(dict.fromkeys(fetches))
    options.fetch.extend(different)
    # Run in the caller's thread: no hand-over to a pool, which costs more than a small model.
    options.run_options.inter_op_thread_pool = -1
    prepared: Run = make(options)
    if len(different) == len(fetches):
        return prepared

    def run_repeated(*values: Array) -> list[Any]:
        by_name = dict(zip(different, prepared(*values), strict=True))
        return [by_name[name] for name in fetches]

    return run_repeated


def _plain_load_error(error: Exception, path: str, tags: Sequence[str]) -> Exception:
    """What TensorFlow Serving's C++ loader says where the Python loader says it otherwise."""
    text = str(error)
    if isinstance(error, RuntimeError) and "MetaGraphDef associated with tags" in text:
        return not_found(
            "Could not find meta graph def matching supplied tags: "
            f"{{ {' '.join(tags)} }}. To inspect available tag-sets in the SavedModel, please use "
            f"the SavedModel CLI: `saved_model_cli show --dir {path} --all`"
        )
    if isinstance(error, OSError) and "does not exist" in text:
        return not_found(
            "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "
            f"{path}. Check that the directory exists and that you have the right permissions for "
            "accessing it."
        )
    if isinstance(error, OSError) and "Cannot parse file" in text:
        return ServingError(
            grpc.StatusCode.DATA_LOSS, f"Can't parse {path}/saved_model.pb as binary proto"
        )
    return error
