"""Slates before and after alignment, with what people answered: what the answers changed.

*Before* is the order by the behaviour head, which learns from behaviour alone; *after* is the order
by ŷ, the one that is served. A method without a behaviour head has no *before*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from easq_keras.models import EMER
from easq_keras.models.emer import score_of
from pipeline.evaluation.bootstrap import bootstrap_ratios
from pipeline.evaluation.slates import text_hash
from pipeline.logs.canonical import (
    DISSATISFIED,
    NOT_ANSWERED,
    SATISFIED,
    UNCERTAIN,
    behaviour_column,
)
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.tower_inputs import tower_inputs
from pipeline.training_session import RawAndTransformed
from pipeline.transform import MASK

SLATES_FILE = "slates.json"
_ANSWERS = {SATISFIED: "satisfied", DISSATISFIED: "dissatisfied", UNCERTAIN: "uncertain"}
_SHOWN = ("satisfied", "dissatisfied")
# The first so many slates with either answer are shown: not the ones that look best.
_SLATES_EACH = 2


def alignment_examples(
    model: EMER, config: DatasetConfig, slates: Iterable[RawAndTransformed]
) -> dict[str, Any]:
    """Ranks answered slates before and after alignment.

    Args:
        model: Trained.
        config: The dataset.
        slates: Raw and transformed, of which those with an answer are looked at.

    Returns:
        `answered`: how many slates had a Satisfied or Dissatisfied answer. `moved`: by answer, by
        how many places alignment moved such candidates up: `mean`, with its 95 % interval `low`,
        `high` (users drawn) and `n_answers`; None where there is no *before*. `slates`: the first
        few with either answer, each with `request_id` and `candidates`, the best first: `item_id`,
        `described` by its categories, `after` and `before` (places from 1), whether it was `shown`,
        its `answer`, `behaviours` and `true_satisfaction`.
    """
    users: list[int] = []
    moves: list[tuple[int, int]] = []
    shown: dict[str, list[dict[str, Any]]] = {name: [] for name in _SHOWN}
    answered = 0
    for raw, transformed in slates:
        answer = raw["answer"].to_tensor(NOT_ANSWERED, shape=transformed[MASK].shape).numpy()
        rows = np.flatnonzero(np.isin(answer, (SATISFIED, DISSATISFIED)).any(axis=1))
        if not len(rows):
            continue
        batch = {name: tf.gather(value, rows) for name, value in transformed.items()}
        after, before = _places(model, batch)
        answered += len(rows)
        for place, row in enumerate(rows):
            of_before = None if before is None else before[place]
            kind = _SHOWN[0] if (answer[row] == SATISFIED).any() else _SHOWN[1]
            if len(shown[kind]) < _SLATES_EACH:
                shown[kind].append(_slate(raw, row, after[place], of_before, config))
            if of_before is None:
                continue
            for column in np.flatnonzero(np.isin(answer[row], (SATISFIED, DISSATISFIED))):
                users.append(text_hash(raw["user_id"][row].numpy()))
                moved = of_before[column] - after[place, column]
                moves.append((int(answer[row, column]), int(moved)))
    return {
        "answered": answered,
        "moved": _moved(users, moves) if moves else None,
        "slates": [slate for name in _SHOWN for slate in shown[name]],
    }


def _places(
    model: EMER, batch: Mapping[str, tf.Tensor]
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Places from 1 by ŷ and, where there is one, by the behaviour head; padding comes last."""
    real = batch[MASK].numpy() > 0
    after = _ranked(model(batch, training=False)["score"].numpy(), real)
    head = getattr(model, "behaviour_head", None)
    if head is None:
        return after, None
    inputs = tower_inputs(model, batch)
    return after, _ranked(score_of(head, inputs.h, inputs.mask).numpy(), real)


def _ranked(scores: NDArray[np.float32], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    order = np.argsort(np.where(real, -scores, np.inf), axis=1, kind="stable")
    return np.argsort(order, axis=1) + 1


def _moved(users: list[int], moves: list[tuple[int, int]]) -> dict[str, dict[str, float]]:
    names, user = np.unique(np.array(users, dtype=np.uint64), return_inverse=True)
    answer, places = np.array(moves, dtype=np.float64).T
    sums, counts = np.zeros((len(names), len(_SHOWN))), np.zeros((len(names), len(_SHOWN)))
    for column, code in enumerate((SATISFIED, DISSATISFIED)):
        np.add.at(sums[:, column], user[answer == code], places[answer == code])
        np.add.at(counts[:, column], user[answer == code], 1.0)
    means = bootstrap_ratios(sums, counts, seed=0)
    return {
        name: {
            "mean": float(means.mean[column]),
            "low": means.interval(column)[0],
            "high": means.interval(column)[1],
            "n_answers": int(counts[:, column].sum()),
        }
        for column, name in enumerate(_SHOWN)
    }


def _slate(
    raw: Mapping[str, Any],
    row: int,
    after: NDArray[np.int64],
    before: NDArray[np.int64] | None,
    config: DatasetConfig,
) -> dict[str, Any]:
    lists = {
        name: value[row].numpy().tolist()
        for name, value in raw.items()
        if isinstance(value, tf.RaggedTensor)
    }
    categories = [
        feature.name
        for feature in config.features
        if feature.level == "candidate" and feature.kind == "categorical"
    ]
    # A slate that is too wide is cut by Transform.
    size = min(len(lists["item_id"]), config.slate.max_candidates)
    candidates = [
        {
            "item_id": _text(lists["item_id"][column]),
            "described": {name: _text(lists[name][column]) for name in categories},
            "after": int(after[column]),
            "before": None if before is None else int(before[column]),
            "shown": bool(lists["exposed"][column]),
            "answer": _ANSWERS.get(lists["answer"][column]),
            "behaviours": [
                name
                for name in config.behaviours.columns
                if lists[behaviour_column(name)][column] > 0
            ],
            "true_satisfaction": lists.get("true_satisfaction", [None] * size)[column],
        }
        for column in range(size)
    ]
    candidates.sort(key=lambda candidate: candidate["after"])
    return {"request_id": _text(raw["request_id"][row].numpy()), "candidates": candidates}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
