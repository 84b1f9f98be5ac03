"""Does the exported model serve, and score as the one that was trained?

A one-shot run tries its model in a fresh server process (`pipeline.infra_check`), which takes
longer than learning a span. What may differ from one span to the next is the weights alone, so here
the SavedModel is loaded as servers load it, in this process, and scores some slates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.serving_requests import EXAMPLES, SCORE

# XLA and the server sum in another order.
_TOLERANCE = 1e-4


def served_scores(saved_model: Path, examples: list[bytes]) -> NDArray[np.float32]:
    """What a model server would answer, `[slates, W]`."""
    # A session and a graph of its own, both closed: loading into the eager runtime would stay.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(saved_model))
        signature = graph.signature_def[EXAMPLES]
        (given,) = signature.inputs.values()
        return session.run(signature.outputs[SCORE].name, {given.name: examples})


def disagreement(
    request_ids: list[bytes], served: NDArray[np.float32], trained: list[NDArray[np.float64]]
) -> str:
    """What is wrong with the served scores; empty where they agree.

    Args:
        request_ids: Of the slates.
        served: `[slates, W]`.
        trained: The trained model's scores of each slate's candidates.
    """
    for request_id, row, expected in zip(request_ids, served, trained, strict=True):
        found = row[: len(expected)]
        allowed = _TOLERANCE * np.maximum(1.0, np.abs(expected))
        wrong = ~(np.abs(found - expected) <= allowed)
        if wrong.any():
            place = int(np.argmax(wrong))
            return (
                f"request {request_id.decode('utf-8', 'backslashreplace')}, candidate {place}: the "
                f"exported model scores {found[place]:.7g}, the trained one {expected[place]:.7g}"
            )
    return ""
