"""What a training step of EASQ costs, against the plain behaviour ranker and against PyTorch.

    python benchmarks/training_step_speed.py [--torch-python PYTHON] [--json out.json]

512 slates of 24 candidates and 5 slates with an answer (1 %), embeddings of 64/32/8, as in the
pipeline's default dataset. All contenders take turns in one run, on all cores; a ratio is the
median over the rounds, for machines are shared and change their pace. `--torch-python` names an
interpreter that has torch: it then runs `training_step_torch.py` on the same batch, from the same
weights, and the first losses are compared before anything is timed. The bare matrix products are
those of the EASQ step, forwards and backwards, and nothing else of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf

from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ, EMER

DENSE, ANSWERED, WIDTH = 512, 5, 24
STEPS_A_CALL = 4
FEATURES = [
    FeatureSpec("user_id", "id", num_buckets=8192, level="user"),
    FeatureSpec("activity", "categorical", num_buckets=16, level="user"),
    FeatureSpec("age_group", "categorical", num_buckets=32, level="user"),
    FeatureSpec("item_id", "id", num_buckets=16384),
    FeatureSpec("author_id", "id", num_buckets=2048),
    FeatureSpec("topic", "categorical", num_buckets=64),
    FeatureSpec("duration", "bucket", num_buckets=64),
    FeatureSpec("duration_z", "numeric"),
    FeatureSpec("p_click", "bucket", num_buckets=64),
    FeatureSpec("p_click_z", "numeric"),
    FeatureSpec("p_click_rank", "numeric"),
]
Arrays = dict[str, np.ndarray]


def make_batch() -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(0)
    rows = DENSE + ANSWERED
    features: Arrays = {"mask": np.ones((rows, WIDTH), "int64")}
    for spec in FEATURES:
        shape = (rows,) if spec.level == "user" else (rows, WIDTH)
        features[spec.name] = (
            rng.integers(0, spec.num_buckets, shape)
            if spec.embedded
            else rng.normal(size=shape).astype("float32")
        )
    behaviour = rng.integers(-1, 3, (rows, WIDTH)).astype("float32")
    behaviour[DENSE:] = -1
    answer = np.full((rows, WIDTH), -1, "float32")
    answer[DENSE:, 0] = np.arange(ANSWERED) % 2
    group = np.full(rows, -1, "int64")
    group[DENSE:] = np.arange(ANSWERED) // 2
    return features, {"behaviour": behaviour, "answer": answer, "pair_group": group}


def keras_steps(
    model: keras.Model, batch: Any, jit: bool, **options: Any
) -> Callable[[int], float]:
    """Returns a function that makes so many steps and returns their seconds."""
    model.compile(jit_compile=jit, steps_per_execution=STEPS_A_CALL, **options)
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps // STEPS_A_CALL):
            logs = model.train_function(batches)
        float(logs["loss"])
        return time.perf_counter() - started

    return run


def matrix_products(model: EASQ) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes of the factors of every product in a step of the preset `recommended`."""
    settings = model.settings
    k, d = model.embedding.output_dim, settings.units
    heads, hidden = settings.num_heads, settings.expert_hidden_dim
    products: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def dense(rows: int, width: int, units: int, *, weights: bool, inputs: bool) -> None:
        products.append(((rows, width), (width, units)))
        if weights:
            products.append(((width, rows), (rows, units)))
        if inputs:
            products.append(((rows, units), (units, width)))

    def experts(rows: int, count: int, learns: bool, inputs: bool) -> None:
        dense(rows, d, count, weights=learns, inputs=inputs)
        for _ in range(count):
            dense(rows, d, hidden, weights=learns, inputs=inputs)
            dense(rows, hidden, 1, weights=learns, inputs=learns)

    for slates, learns in ((DENSE, True), (ANSWERED, False)):
        rows = slates * WIDTH
        dense(rows, k, d, weights=learns, inputs=learns)
        dense(rows, d, 3 * d, weights=learns, inputs=learns)
        square = (slates * heads, WIDTH, WIDTH)
        tall, wide = (*square[:2], d // heads), (square[0], d // heads, WIDTH)
        products += [(tall, wide), (square, tall)]
        products += [(square, tall), (square, tall), (square, tall), (tall, wide)] * learns
        for width, units in ((d, d), (d, 2 * d), (2 * d, d)):
            dense(rows, width, units, weights=learns, inputs=learns)
        # The delta and the satisfaction tower learn from answers, the rest from the dense rows.
        dense(rows, k, settings.lora_rank, weights=not learns, inputs=False)
        dense(rows, settings.lora_rank, d, weights=not learns, inputs=not learns)
        experts(rows, settings.num_satisfaction_experts, not learns, not learns)
        if learns:
            experts(rows, settings.num_experts, learns=True, inputs=False)
            dense(rows, d, d, weights=True, inputs=True)
            dense(rows, d, 1, weights=True, inputs=True)
    return products


def product_steps(model: EASQ) -> Callable[[int], float]:
    shapes = matrix_products(model)
    factors = [[tf.random.normal(shape) for shape in pair] for pair in shapes]

    @tf.function
    def multiply() -> tf.Tensor:
        # A sum over little of each result: it must be computed, and adding it up costs nothing.
        return tf.add_n([tf.reduce_sum(tf.matmul(a, b)[..., :1, :1]) for a, b in factors])

    multiply()

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            result = multiply()
        float(result)
        return time.perf_counter() - started

    return run


class TorchSteps:
    """The PyTorch step in a process of its own."""

    def __init__(
        self, python: str, model: EASQ, batch: tuple[Arrays, Arrays], folder: Path
    ) -> None:
        features, labels = batch
        np.savez(folder / "batch.npz", **features, **labels)
        weights = {v.path.partition("/")[2]: np.asarray(v) for v in model.trainable_variables}
        np.savez(folder / "weights.npz", **weights)
        specs = [spec.get_config() for spec in FEATURES]
        settings = {**model.settings.to_dict(), "features": specs}
        (folder / "settings.json").write_text(json.dumps(settings))
        script = Path(__file__).with_name("training_step_torch.py")
        self.process = subprocess.Popen(
            [python, str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = json.loads(self._line())

    def __call__(self, steps: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the PyTorch process ended; its error is above")
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", help="an interpreter that has torch")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--no-jit", action="store_true", help="without XLA")
    parser.add_argument("--json", help="write the figures there")
    arguments = parser.parse_args()
    jit = not arguments.no_jit

    batch = make_batch()
    keras.utils.set_random_seed(0)
    models = {
        "EMER": EMER(FEATURES),
        "EASQ recommended": EASQ.from_preset("recommended", FEATURES, dpo_ramp_steps=0),
        "EMER as in paper": EMER(FEATURES, num_experts=8, router_norm=False, gate_bias=None),
        "EASQ paper": EASQ.from_preset("paper", FEATURES),
    }
    easq = models["EASQ recommended"]
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if arguments.torch_python:
            peer = TorchSteps(arguments.torch_python, easq, batch, Path(folder))
            compare_first_losses(easq, batch, peer.first)
        dense = tuple({name: v[:DENSE] for name, v in part.items()} for part in batch)
        contenders: dict[str, Callable[[int], float]] = {
            name: keras_steps(
                model,
                batch if isinstance(model, EASQ) else dense,
                jit,
                **({"answered_rows": ANSWERED} if isinstance(model, EASQ) else {}),
            )
            for name, model in models.items()
        }
        contenders["matrix products"] = product_steps(easq)
        if peer:
            contenders["PyTorch"] = peer
        for run in contenders.values():  # compile, and reach the pace
            run(2 * STEPS_A_CALL)
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for name, run in contenders.items():
                times[name].append(run(arguments.steps) / arguments.steps)
        if peer:
            peer.close()

    figures = {f"{name}, ms a step": statistics.median(t) * 1e3 for name, t in times.items()}
    figures["EASQ recommended / EMER"] = ratio(times, "EASQ recommended", "EMER")
    figures["EASQ paper / EMER as in paper"] = ratio(times, "EASQ paper", "EMER as in paper")
    figures["share of bare matrix products"] = ratio(times, "matrix products", "EASQ recommended")
    if peer:
        figures["samples/s, EASQ recommended / PyTorch"] = ratio(
            times, "PyTorch", "EASQ recommended"
        )
    for name, value in figures.items():
        print(f"{name:40} {value:8.2f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1))


def compare_first_losses(model: EASQ, batch: tuple[Arrays, Arrays], first: dict[str, Any]) -> None:
    model.compile(answered_rows=ANSWERED)
    loss = float(model.objective(model(batch[0], learning=True), batch[1]).report.values["loss"])
    print(f"torch {first['torch']}; first loss {first['loss']:.5f}, here {loss:.5f}")
    if abs(loss - first["loss"]) > 1e-3 * abs(loss):
        raise SystemExit("the two do not compute the same loss: there is nothing to compare")


if __name__ == "__main__":
    main()
