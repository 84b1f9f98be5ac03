"""How often training meets a pair of answers: the first thing to look at when ŷ does not follow.

Pairs vanish with the square of the rate of answers. A batch without one teaches a pairwise loss
nothing, whatever its weight.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.training_input import with_own_threads


def answered_pairs(answers: NDArray[np.float32], groups: NDArray[np.int64]) -> int:
    """The pairs of different answers inside a pair group.

    Args:
        answers: `[rows, W]`; negative: no answer.
        groups: `[rows]`; rows that share a value of at least 0 are one group, any other row is a
            group of its own.
    """
    keys = np.where(groups >= 0, groups, -1 - np.arange(len(groups)))
    _, group = np.unique(keys, return_inverse=True)
    group = np.broadcast_to(group[:, None], answers.shape)[answers >= 0]
    of_group = np.bincount(group)
    _, level = np.unique(answers[answers >= 0], return_inverse=True)
    of_level = np.bincount(group * (level.max(initial=0) + 1) + level)
    # All ordered pairs of a group less those of equal answers, each unordered pair once.
    return int((of_group**2).sum() - (of_level**2).sum()) // 2


class PairCoverage:
    """Counts the pairs of every batch that passes.

    Attributes:
        batches: Batches seen.
        with_pair: Of these, batches with at least one pair.
        pairs: Pairs in all.
        groups: Pair groups in all, each of which is fresh in one batch.
        pairs_by_batch: The same pairs, batch by batch.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.groups = 0
        self.with_pair = 0
        self.pairs = 0
        self.pairs_by_batch: list[int] = []

    def observe(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches of `training_batches`, counted on their way."""

        def look(features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]):
            tf.numpy_function(self._count, [labels["answer"], labels["pair_group"]], [])
            return features, labels

        return with_own_threads(batches.map(look))

    def _count(self, answers: NDArray[np.float32], groups: NDArray[np.int64]) -> None:
        pairs = answered_pairs(answers, groups)
        self.batches += 1
        self.with_pair += pairs > 0
        self.pairs += pairs
        self.pairs_by_batch.append(pairs)
        self.groups += len(np.unique(groups[groups >= 0]))

    def to_dict(self) -> dict[str, float]:
        """Shares and means for the report; 0 before any batch."""
        batches = max(self.batches, 1)
        return {
            "share_of_batches": self.with_pair / batches,
            "pairs_per_batch": self.pairs / batches,
        }
