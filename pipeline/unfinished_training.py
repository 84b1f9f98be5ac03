"""Checkpoints of a pass that is still going on, for workers that have to start anew."""

from __future__ import annotations

import logging

import tensorflow as tf

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.models import EMER
from easq_keras.workers import steps_of
from pipeline.remote_folders import read_folder, written_folder

_KEPT = 2


class UnfinishedTraining:
    """The newest checkpoints of a pass, a folder each, named by the steps of the model.

    Written by one worker, read by all. A folder that was being written when its worker died is
    passed over.

    Args:
        folder: Where; all workers see it. Need not be there.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def save(self, model: EMER) -> None:
        """Keeps the state of a model, and the one before it."""
        with written_folder(f"{self._folder}/{steps_of(model)}") as place:
            save_checkpoint(model, place)
        for steps in self._found()[_KEPT:]:
            tf.io.gfile.rmtree(f"{self._folder}/{steps}")

    def restore(self, model: EMER) -> bool:
        """Brings a model to the newest state that is whole; returns whether there is one."""
        for steps in self._found():
            try:
                with read_folder(f"{self._folder}/{steps}") as place:
                    load_checkpoint(model, place)
            except (FileNotFoundError, ValueError) as error:
                logging.warning("Passing over a checkpoint: %s", error)
                continue
            logging.info("Going on from step %d", steps)
            return True
        return False

    def remove(self) -> None:
        """Removes all of them: the pass is done."""
        if tf.io.gfile.exists(self._folder):
            tf.io.gfile.rmtree(self._folder)

    def _found(self) -> list[int]:
        """The steps at which there is a folder, newest first."""
        if not tf.io.gfile.exists(self._folder):
            return []
        names = (name.strip("/") for name in tf.io.gfile.listdir(self._folder))
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)
