"""What a training step of EASQ costs, against the plain behaviour ranker and against PyTorch.

    python benchmarks/training_step_speed.py [--torch-python PYTHON] [--growth] [--json out.json]

512 slates of 24 candidates and 5 slates with an answer (1 %), embeddings of 64/32/8, as in the
pipeline's default dataset. All contenders take turns in one run, on all cores; a ratio is the
median over the rounds, for machines are shared and change their pace. `--torch-python` names an
interpreter that has torch: it then runs `training_step_torch.py` on the same batch, from the same
weights, eagerly and compiled, and the first losses are compared before anything is timed. Plain
`fit` is Keras's with neither XLA nor several steps a call. The bare matrix products are those of
the EASQ step, forwards and backwards, and nothing else of it. `--growth` adds how the step grows
with the width of the slate, the batch, the rank and the experts.
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
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.harness import Ratio, in_turns, ratio, report
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


def make_batch(slates: int, width: int) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(0)
    rows = slates + ANSWERED
    features: Arrays = {"mask": np.ones((rows, width), "int64")}
    for spec in FEATURES:
        shape = (rows,) if spec.level == "user" else (rows, width)
        features[spec.name] = (
            rng.integers(0, spec.num_buckets, shape)
            if spec.embedded
            else rng.normal(size=shape).astype("float32")
        )
    behaviour = rng.integers(-1, 3, (rows, width)).astype("float32")
    behaviour[slates:] = -1
    answer = np.full((rows, width), -1, "float32")
    answer[slates:, 0] = np.arange(ANSWERED) % 2
    group = np.full(rows, -1, "int64")
    group[slates:] = np.arange(ANSWERED) // 2
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


def fit_steps(model: EASQ, batch: Any) -> Callable[[int], float]:
    """The step as `fit` makes it when nothing is asked of it: no XLA, one step a call."""
    model.compile(jit_compile=False, steps_per_execution=1)
    batches = tf.data.Dataset.from_tensors(batch).repeat()

    def run(steps: int) -> float:
        started = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
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

    def network(rows: int, learns: bool, inputs: bool) -> None:
        dense(rows, d, d, weights=learns, inputs=inputs)
        dense(rows, d, 1, weights=learns, inputs=learns)

    def tower(rows: int, count: int, learns: bool, inputs: bool) -> None:
        if settings.use_moe:
            experts(rows, count, learns, inputs)
        else:
            network(rows, learns, inputs)

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
        tower(rows, settings.num_satisfaction_experts, not learns, not learns)
        if learns:
            tower(rows, settings.num_experts, learns=True, inputs=False)
            network(rows, learns=True, inputs=True)
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
        self, python: str, model: EASQ, batch: tuple[Arrays, Arrays], folder: Path, *how: str
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
            [python, str(script), str(folder), *how],
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


def growth(rounds: int, steps: int) -> dict[str, float]:
    """The step of EASQ with one size changed, over the step as it is: medians of the ratios."""
    sizes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "slates of 48": {"width": 2 * WIDTH},
        "batch of 1024": {"dense": 2 * DENSE},
        "rank 64": {"settings": {"lora_rank": 64}},
        "6 and 4 experts": {"settings": {"use_moe": True}},
        "12 and 8 experts": {
            "settings": {"use_moe": True, "num_experts": 12, "num_satisfaction_experts": 8}
        },
    }
    contenders = {}
    for name, size in sizes.items():
        model = EASQ(FEATURES, **size.get("settings", {}))
        batch = make_batch(size.get("dense", DENSE), size.get("width", WIDTH))
        contenders[name] = keras_steps(model, batch, jit=True, answered_rows=ANSWERED)
        contenders[name](2 * STEPS_A_CALL)
    said = in_turns({name: partial(run, steps) for name, run in contenders.items()}, rounds)
    return {name: round(ratio(said, name, "as it is"), 2) for name in sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", help="an interpreter that has torch")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--no-jit", action="store_true", help="without XLA")
    parser.add_argument("--growth", action="store_true", help="how the step grows with its sizes")
    parser.add_argument("--json", help="write the result there")
    arguments = parser.parse_args()
    jit = not arguments.no_jit

    batch = make_batch(DENSE, WIDTH)
    keras.utils.set_random_seed(0)
    models = {
        "EMER": EMER(FEATURES),
        "EMER without experts": EMER(FEATURES, use_moe=False),
        "EASQ": EASQ.from_preset("recommended", FEATURES, dpo_ramp_steps=0),
        "EMER as in paper": EMER(FEATURES, num_experts=8, router_norm=False, gate_bias=None),
        "EASQ paper": EASQ.from_preset("paper", FEATURES),
    }
    easq = models["EASQ"]
    with tempfile.TemporaryDirectory() as folder:
        torch = {}
        if arguments.torch_python:
            for name, how in (("PyTorch", ()), ("torch.compile", ("compile",))):
                torch[name] = TorchSteps(arguments.torch_python, easq, batch, Path(folder), *how)
                compare_first_losses(easq, batch, torch[name].first)
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
        plain = EASQ.from_preset("recommended", FEATURES, dpo_ramp_steps=0)
        contenders["plain fit"] = fit_steps(plain, batch)
        contenders["matrix products"] = product_steps(easq)
        contenders |= torch
        for run in contenders.values():  # compile, and reach the pace
            run(2 * STEPS_A_CALL)
        steps = arguments.steps
        said = in_turns(
            {name: partial(run, steps) for name, run in contenders.items()}, arguments.rounds
        )
        for peer in torch.values():
            peer.close()

    ratios = [
        Ratio("step, EASQ / EMER", ratio(said, "EASQ", "EMER"), 1.15, at_most=True),
        Ratio(
            "step, EASQ / EMER without experts",
            ratio(said, "EASQ", "EMER without experts"),
            1.15,
            at_most=True,
        ),
        Ratio(
            "step, EASQ paper / EMER as in paper",
            ratio(said, "EASQ paper", "EMER as in paper"),
            1.15,
            at_most=True,
        ),
        Ratio("samples a second, EASQ / plain fit", ratio(said, "plain fit", "EASQ")),
        Ratio("bare matrix products / step of EASQ", ratio(said, "matrix products", "EASQ")),
        *(
            Ratio(f"samples a second, EASQ / {name}", ratio(said, name, "EASQ"), goal)
            for name, goal in (("PyTorch", 1.5), ("torch.compile", 1.0))
            if name in torch
        ),
    ]
    figures: dict[str, Any] = {
        "ms a step": {
            name: round(statistics.median(seconds) / steps * 1e3, 1)
            for name, seconds in said.items()
        }
    }
    print(json.dumps(figures["ms a step"], indent=1))
    if arguments.growth:
        figures["growth"] = growth(arguments.rounds, steps)
        print(json.dumps(figures["growth"], indent=1))
    report("training_step", ratios, figures, arguments.json)


def compare_first_losses(model: EASQ, batch: tuple[Arrays, Arrays], first: dict[str, Any]) -> None:
    model.compile(answered_rows=ANSWERED)
    loss = float(model.objective(model(batch[0], learning=True), batch[1]).report.values["loss"])
    print(f"torch {first['torch']}; first loss {first['loss']:.5f}, here {loss:.5f}")
    if abs(loss - first["loss"]) > 1e-3 * abs(loss):
        raise SystemExit("the two do not compute the same loss: there is nothing to compare")


if __name__ == "__main__":
    main()
