"""Models and batches small enough to train in a test."""

from typing import Any

import keras
import numpy as np

from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ, EMER, build_method, method_info

WIDTH = 5
ANSWERED = 4
SPECS = [
    FeatureSpec("user_id", "id", num_buckets=20, dim=4, level="user"),
    FeatureSpec("item_id", "id", num_buckets=30, dim=4),
    FeatureSpec("ctr", "numeric"),
]
SIZES: dict[str, Any] = {
    "units": 8,
    "num_heads": 2,
    "num_experts": 4,
    "expert_hidden_dim": 3,
}
ALIGNED_SIZES = {**SIZES, "num_satisfaction_experts": 3, "lora_rank": 2}

Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def easq(preset: str = "recommended", **changes: Any) -> EASQ:
    """A small EASQ of a preset; without a ramp, so that every loss counts from the first step."""
    return EASQ.from_preset(
        preset, features=SPECS, **{**ALIGNED_SIZES, "dpo_ramp_steps": 0, **changes}
    )


def emer(**changes: Any) -> EMER:
    """A small EMER."""
    return EMER(SPECS, **{**SIZES, **changes})


def method(name: str, seed: int = 0, **changes: Any) -> EMER:
    """A small model of a method as it is after some time: nothing is 0 that will not stay 0."""
    keras.utils.set_random_seed(seed)
    if issubclass(method_info(name).model, EASQ):
        changes = {"dpo_ramp_steps": 0, "lora_rank": 2, **changes}
    model = build_method(name, SPECS, **{**SIZES, **changes})
    if isinstance(model, EASQ):
        wake(model)
    if method_info(name).pretrained:
        model.pretrained.assign(1)
    return model


def batch(seed: int = 0, dense: int = 6, answered: int = ANSWERED, answers: bool = True) -> Batch:
    """Dense rows with behaviour and padding, then answered rows in pair groups.

    The answered rows hold one answer each, satisfied and dissatisfied in turn, two rows a group.
    """
    rng = np.random.default_rng(seed)
    rows = dense + answered
    mask = (np.arange(WIDTH) < rng.integers(2, WIDTH + 1, (rows, 1))).astype("int64")
    behaviour = np.where(mask == 1, rng.integers(-1, 3, (rows, WIDTH)), -1).astype("float32")
    behaviour[dense:] = -1
    # Whatever was drawn: every dense row has a pair.
    behaviour[:dense, :2] = [2, 0]
    answer = np.full((rows, WIDTH), -1, "float32")
    pair_group = np.full(rows, -1, "int64")
    if answers:
        answer[dense:, 1] = np.arange(answered) % 2
        pair_group[dense:] = np.arange(answered) // 2
    features = {
        "user_id": rng.integers(0, 20, rows),
        "item_id": rng.integers(0, 30, (rows, WIDTH)),
        "ctr": rng.normal(size=(rows, WIDTH)).astype("float32"),
        "mask": mask,
    }
    labels = {"behaviour": behaviour, "answer": answer, "pair_group": pair_group}
    return features, {**labels, "exposed": mask.astype("float32")}


def wake(model: EASQ, seed: int = 0) -> None:
    """Gives the delta's B other values than its zeros, as training does."""
    if model.lora is not None:
        kernel = model.lora.lora_kernel_b
        kernel.assign(np.random.default_rng(seed).normal(0, 0.3, kernel.shape))
