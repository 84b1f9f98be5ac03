"""Rankers of the simulator's slates for tests: saved by TensorFlow, served by the real server."""

from concurrent.futures import Future
from pathlib import Path

import pyarrow.parquet as pq
import tensorflow as tf

from experiments.ab.learner import Learnt
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import load_dataset_config


class MixedPredictions(tf.Module):
    """score = weight · p_watch + (1 - weight) · p_like, from all the inputs a real model has."""

    def __init__(self, weight):
        super().__init__()
        self.weight = tf.Variable(float(weight))

    def score(self, **inputs):
        return {"score": self.weight * inputs["p_watch"] + (1 - self.weight) * inputs["p_like"]}


def save_ranker(folder: Path, weight: float) -> None:
    """Writes a SavedModel with the raw signature of the simulated dataset."""
    inputs = {
        feature.name: tf.TensorSpec(
            [None, None] if feature.level == "candidate" else [None],
            tf.float32 if feature.numeric else tf.string,
            feature.name,
        )
        for feature in load_dataset_config("simulated").features
    }
    module = MixedPredictions(weight)
    signature = tf.function(module.score).get_concrete_function(**inputs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})


class PlainLearner:
    """Stands for the pipeline: version 1 after the history, then one more a span.

    Attributes:
        fails_at: number of the span whose training fails, for a test that is stopped there.
    """

    fails_at: int | None = None

    def __init__(self, folder, dataset, settings):
        self._versions = Workdir(folder).serving_dir
        self._weight = {"EMER": 1.0, "EASQ": 0.0}[settings.trainer.method]

    def start(self, history):
        assert {path.stem for path in history.glob("*.parquet")} == {
            "impressions",
            "questionnaires",
            "users",
            "items",
        }
        return self._push(1, history)

    def learn(self, span):
        number = int(span.name.removeprefix("span-"))
        if number == self.fails_at:
            failed = Future()
            failed.set_exception(ValueError("no space left on device"))
            return failed
        return self._push(number + 1, span)

    def close(self):
        pass

    def _push(self, version, log):
        assert (log / "_SUCCESS").exists()
        folder = self._versions / str(version)
        if not folder.exists():
            partial = self._versions / f".partial-{version}"
            save_ranker(partial, 0.9 * self._weight + 0.05)
            partial.rename(folder)
        learnt = Future()
        rows = pq.read_metadata(log / "impressions.parquet").num_rows
        learnt.set_result(Learnt(version, "Blessed.", 1.0, {"impressions": rows}))
        return learnt
