"""What the offline models of SAQRec learn from: single candidates out of batches of slates."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from easq_keras.layers import FeatureSpec

# Exposed candidates kept for the propensity model, drawn evenly from all.
MAX_EXPOSED = 20_000

Columns = dict[str, np.ndarray]


class ResponseData(NamedTuple):
    """Candidates without their slates.

    Attributes:
        answered: Features of the answered candidates, `(n,)` each; an answer that came in several
            batches counts once.
        answers: `(n,)`, 1 satisfied, 0 dissatisfied.
        exposed: Features of exposed candidates.
    """

    answered: Columns
    answers: np.ndarray
    exposed: Columns


def collect_responses(
    batches: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
    features: Iterable[FeatureSpec],
    max_exposed: int = MAX_EXPOSED,
) -> ResponseData:
    """Goes through batches once.

    Args:
        batches: Pairs (features, labels) as `fit` takes them.
        features: The features to keep.
        max_exposed: Number of exposed candidates to keep, an even draw from all that there are.

    Examples:
        >>> behaviour, answer = np.array([[1, 0], [-1, -1]]), np.array([[-1, -1], [-1, 1]])
        >>> labels = {"behaviour": behaviour, "answer": answer}
        >>> batch = ({"item": np.array([[1, 2], [3, 4]])}, labels)
        >>> data = collect_responses([batch, batch], [FeatureSpec("item", "id", num_buckets=9)])
        >>> data.answered["item"], data.answers, data.exposed["item"]
        (array([4]), array([1.], dtype=float32), array([1, 2, 1, 2]))
    """
    specs = tuple(features)
    rng = np.random.default_rng(0)
    answered: list[Columns] = []
    answers: list[np.ndarray] = []
    exposed: list[Columns] = []
    keys: list[np.ndarray] = []
    for inputs, labels in batches:
        behaviour = np.asarray(labels["behaviour"])
        answer = np.asarray(labels.get("answer", -np.ones_like(behaviour)), np.float32)
        mask = np.asarray(inputs.get("mask", np.ones_like(behaviour))).astype(bool)
        given, shown = mask & (answer >= 0) & (answer <= 1), mask & (behaviour >= 0)
        answered.append(_candidates(specs, inputs, given))
        answers.append(answer[given])
        exposed.append(_candidates(specs, inputs, shown))
        keys.append(rng.random(int(shown.sum())))
        if sum(map(len, keys)) > 2 * max_exposed:
            exposed, keys = _thinned(exposed, keys, max_exposed)
    exposed, keys = _thinned(exposed, keys, max_exposed)
    together, labels_of = _joined(answered), np.concatenate(answers)
    once = _first_of_each([*together.values(), labels_of])
    kept = {name: column[once] for name, column in together.items()}
    return ResponseData(kept, labels_of[once], exposed[0])


def _candidates(
    specs: tuple[FeatureSpec, ...], inputs: Mapping[str, Any], where: np.ndarray
) -> Columns:
    columns = {}
    for spec in specs:
        value = np.asarray(inputs[spec.name])
        wide = np.broadcast_to(value[:, None], where.shape) if spec.level == "user" else value
        columns[spec.name] = wide[where]
    return columns


def _joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _thinned(
    parts: list[Columns], keys: list[np.ndarray], size: int
) -> tuple[list[Columns], list[np.ndarray]]:
    """Keeps the candidates with the smallest of their random keys, in their order."""
    columns, key = _joined(parts), np.concatenate(keys)
    if len(key) > size:
        kept = np.sort(np.argpartition(key, size)[:size])
        columns, key = {name: column[kept] for name, column in columns.items()}, key[kept]
    return [columns], [key]


def _first_of_each(columns: list[np.ndarray]) -> np.ndarray:
    """Returns the places of the first of all rows that are equal, rising."""
    codes = [np.unique(column, return_inverse=True)[1] for column in columns]
    return np.sort(np.unique(np.stack(codes, axis=1), axis=0, return_index=True)[1])
