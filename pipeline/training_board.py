"""What TensorBoard shows of a training: every curve of its record, and the routers' gates.

    tensorboard --logdir easq_run/pipeline/Trainer/model_run

The embedding tables come from `pipeline.embedding_projector`.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from easq_keras.models import EMER
from pipeline.tower_inputs import tower_inputs
from pipeline.transform import MASK

# The gates are looked at with every so manieth point of the curves.
_GATES_EVERY = 10


class TrainingBoard:
    """Writes the event files of one training.

    Args:
        folder: Where to, of this machine or a bucket.
        model: What is trained.
        probe: Transformed slates on which the gates are looked at, the same all the time.
    """

    def __init__(self, folder: str, model: EMER, probe: Mapping[str, tf.Tensor]) -> None:
        self._writer = tf.summary.create_file_writer(folder)
        self._model, self._probe = model, probe
        self._points = 0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a point of every curve and, now and then, the gates.

        Args:
            step: Training steps made.
            values: What `fit` reported.
        """
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            if self._points % _GATES_EVERY == 0:
                self._write_gates()
        self._points += 1

    def close(self) -> None:
        """Writes what is buffered."""
        self._writer.close()

    def _write_gates(self) -> None:
        """Of each router: all gates of the probe's candidates, and how many open each expert."""
        real = self._probe[MASK] > 0
        inputs = tower_inputs(self._model, self._probe)
        for name, (tower, h) in inputs.towers.items():
            if not hasattr(tower, "gates"):
                continue
            gates = tf.boolean_mask(keras.ops.cast(tower.gates(h), "float32"), real)
            tf.summary.histogram(f"{name}/gates", gates)
            shares = tf.reduce_mean(tf.cast(gates > 0, tf.float32), axis=0)
            tf.summary.histogram(f"{name}/share_by_expert", shares, buckets=gates.shape[-1])
