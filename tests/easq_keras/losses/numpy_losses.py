"""The equations, one pair at a time, in NumPy."""

from collections.abc import Callable, Iterator

import numpy as np

Item = tuple[int, int]


def log_sigmoid(x: float) -> float:
    return -np.logaddexp(0.0, -x)


def pairs(
    labels: np.ndarray, mask: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Iterator[tuple[Item, Item]]:
    """(i, j) with label i above label j, both at least 0 and real, in one slate or group."""
    items = [
        item
        for item in np.ndindex(*labels.shape)
        if labels[item] >= 0 and (mask is None or mask[item])
    ]
    for i in items:
        for j in items:
            together = i[0] == j[0] or (
                groups is not None and groups[i[0]] >= 0 and groups[i[0]] == groups[j[0]]
            )
            if together and labels[i] > labels[j]:
                yield i, j


def mean_over_pairs(of_pair: Callable[[Item, Item], float], *arguments: np.ndarray | None) -> float:
    values = [of_pair(i, j) for i, j in pairs(*arguments)]
    return float(np.mean(values)) if values else 0.0


def equation_15(scores: np.ndarray, *arguments: np.ndarray | None) -> float:
    """−log sigmoid(s_i − s_j), which is Eq. 11 too."""
    return mean_over_pairs(lambda i, j: -log_sigmoid(scores[i] - scores[j]), *arguments)


def margin(scores: np.ndarray, reference: np.ndarray, i: Item, j: Item, floor: bool) -> float:
    of_reference = reference[i] - reference[j]
    return scores[i] - scores[j] - (max(0.0, of_reference) if floor else of_reference)


def equation_16(
    scores: np.ndarray,
    reference: np.ndarray,
    *arguments: np.ndarray | None,
    beta: float,
    loss_type: str = "dpo",
    label_smoothing: float = 0.0,
    reference_floor: bool = False,
) -> float:
    def u(i: Item, j: Item) -> float:
        return margin(scores, reference, i, j, reference_floor)

    if loss_type == "ipo":
        return mean_over_pairs(lambda i, j: (u(i, j) - 1 / (2 * beta)) ** 2, *arguments)
    if loss_type == "sdpo":
        odds: dict[Item, list[float]] = {}
        for i, j in pairs(*arguments):
            odds.setdefault(i, [0.0]).append(-beta * u(i, j))
        return float(np.mean([np.logaddexp.reduce(row) for row in odds.values()])) if odds else 0.0
    return mean_over_pairs(
        lambda i, j: (
            -(1 - label_smoothing) * log_sigmoid(beta * u(i, j))
            - label_smoothing * log_sigmoid(-beta * u(i, j))
        ),
        *arguments,
    )


def dense_dpo(
    preference: np.ndarray,
    scores: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    beta: float,
) -> float:
    """Mean over the unordered pairs of real items of one slate."""
    liking = 2.0 / (1.0 + np.exp(-preference))
    total, count = 0.0, 0
    for row, a, b in np.ndindex(len(scores), scores.shape[1], scores.shape[1]):
        if a < b and mask[row, a] and mask[row, b]:
            i, j = ((row, a), (row, b)) if liking[row, a] > liking[row, b] else ((row, b), (row, a))
            u = margin(scores, reference, i, j, floor=False)
            total += (liking[i] - liking[j]) * -log_sigmoid(beta * u)
            count += 1
    return total / count if count else 0.0


def gradient_by_differences(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        step = np.zeros_like(at)
        step[index] = 1e-5
        gradient[index] = (loss(at + step) - loss(at - step)) / 2e-5
    return gradient
