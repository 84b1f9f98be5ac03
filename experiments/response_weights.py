"""Answers weighted by how unlikely they were to be given (IPW), by repeating them.

The propensity p(shown video was asked about *and* answered) is a logistic regression on what the
log knows of every shown video: its numeric features, their ranks and how people behaved. An answer
of weight w is repeated about 4w times in the answered stream, so that any method learns from it
that often, fresh and in the replay, without knowing of weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.slate_arrays import Arrays
from pipeline.transform import ANSWER_LABEL, BEHAVIOUR_LABEL

Floats = NDArray[np.float64]

COPIES = 4
# Weights, of mean 1 before, are kept within this range: a single answer must not rule.
CLIP = (0.1, 10.0)
_NEWTON_STEPS = 12
_RIDGE = 1.0


def reweighted(answered: Arrays, train: Arrays, *, inverse: bool) -> Arrays:
    """The answered stream with each pair group repeated by its weight, in the same order.

    Args:
        answered: the answered slates; a group's last slate is its answer.
        train: all training slates.
        inverse: by inverse propensity; False: all alike, `COPIES` times.
    """
    group = answered["pair_group"]
    if not len(group):
        return answered
    ends = np.flatnonzero(np.append(group[1:] != group[:-1], True))
    starts = np.append(0, ends[:-1] + 1)
    weights = inverse_propensities(answered, train, ends) if inverse else np.ones(len(ends))
    copies = repeats(COPIES * weights)
    chosen = np.repeat(np.arange(len(ends)), copies)
    sizes = (ends - starts + 1)[chosen]
    rows = np.repeat(starts[chosen] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    result = {name: value[rows] for name, value in answered.items()}
    result["pair_group"] = np.repeat(np.arange(len(chosen)), sizes).astype(group.dtype)
    return result


def repeats(weights: Floats) -> NDArray[np.int64]:
    """Whole numbers whose running sums follow those of the weights (systematic sampling)."""
    upto = np.floor(np.cumsum(weights) + 0.5).astype(np.int64)
    return np.diff(upto, prepend=0)


def inverse_propensities(answered: Arrays, train: Arrays, anchors: NDArray[np.int64]) -> Floats:
    """`1 / p` of each anchor's answered candidate, clipped, with mean 1."""
    numeric = sorted(name for name in train if name.endswith(("_z", "_rank")))

    def described(slates: Arrays, rows: NDArray[np.int64], places: NDArray[np.int64]) -> Floats:
        columns = [
            slates[name][rows, places] if slates[name].ndim == 2 else slates[name][rows]
            for name in numeric
        ]
        level = slates[BEHAVIOUR_LABEL][rows, places]
        columns += [level == 1, level >= 2, np.ones(len(rows))]
        return np.stack(columns, axis=1).astype(np.float64)

    place = (answered[ANSWER_LABEL][anchors] >= 0).argmax(axis=1)
    given = described(answered, anchors, place)
    shown = described(train, *np.nonzero(train[BEHAVIOUR_LABEL] >= 0))
    labels = np.append(np.ones(len(given)), np.zeros(len(shown)))
    coefficients = logistic_regression(np.concatenate([given, shown]), labels)
    # Answers are rare: p is proportional to the odds.
    inverse = np.exp(-given @ coefficients)
    inverse = np.clip(inverse / inverse.mean(), *CLIP)
    return inverse / inverse.mean()


def logistic_regression(inputs: Floats, labels: Floats) -> Floats:
    """Coefficients by Newton's method, with a ridge of 1 on all of them."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ coefficients, -30, 30)))
        gradient = inputs.T @ (labels - probability) - _RIDGE * coefficients
        curvature = inputs.T @ (inputs * (probability * (1 - probability))[:, None])
        coefficients += np.linalg.solve(curvature + _RIDGE * np.eye(len(coefficients)), gradient)
    return coefficients
