"""How much of the labels the pairs reach."""

from typing import Any

import keras
from keras import ops

from easq_keras.losses.pairs import Values, pair_sums, valid_items
from easq_keras.types import Tensor


@keras.saving.register_keras_serializable(package="easq_keras")
class PairCoverage(keras.metrics.Metric):
    """How many pairs the labels make, and how many labels make none.

    A pairwise loss learns nothing from a label that has no partner of another level in its group.
    With sparse answers that is most of them: pairs vanish with the square of the answer rate.

    `result` is a dictionary: `"pairs"`, the mean number of pairs a batch; `"paired_labels"`, the
    share of labels that are in a pair; `"paired_batches"`, the share of batches with a pair.

    Args:
        name: Defaults to `"pair_coverage"`.
        **kwargs: `dtype` of `keras.metrics.Metric`.

    Examples:
        >>> metric = PairCoverage()
        >>> metric.update_state(np.array([[1, 0, 0, -1], [1, -1, -1, -1]]))
        >>> {name: float(value) for name, value in metric.result().items()}
        {'pairs': 2.0, 'paired_labels': 0.75, 'paired_batches': 1.0}
    """

    def __init__(self, name: str = "pair_coverage", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        # Pairs, labels in a pair, labels, batches with a pair, batches.
        self.counts = self.add_variable(shape=(5,), initializer="zeros", name="counts")

    def update_state(
        self, y_true: Tensor, mask: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        """Adds the labels of a batch.

        Args:
            y_true: Labels, `(batch, slate)`; below 0 is unlabelled.
            mask: `(batch, slate)`, 0 for padding.
            groups: `(batch,)`; see `pairwise_logistic_loss`.
        """
        labels = ops.convert_to_tensor(y_true)
        valid = valid_items(labels, mask)
        ones = ops.ones_like(ops.cast(labels, "float32"))
        [pairs] = pair_sums([_one], labels, valid, [ones], groups)
        number = ops.sum(pairs.won)
        counts = (
            number,
            ops.sum(ops.cast(pairs.won + pairs.lost > 0, "float32")),
            ops.sum(ops.cast(valid, "float32")),
            ops.cast(number > 0, "float32"),
            ops.ones_like(number),
        )
        self.counts.assign_add(ops.cast(ops.stack(counts), self.dtype))

    def result(self) -> dict[str, Tensor]:
        """Returns the three numbers, 0 before the first batch."""
        pairs, paired, labels, with_pairs, batches = ops.unstack(ops.convert_to_tensor(self.counts))
        batches, labels = ops.maximum(batches, 1.0), ops.maximum(labels, 1.0)
        return {
            "pairs": pairs / batches,
            "paired_labels": paired / labels,
            "paired_batches": with_pairs / batches,
        }


def _one(winner: Values, loser: Values) -> Tensor:
    return winner[0] * loser[0]
