"""What is kept of an evaluation so that another model's can be compared with it, paired by user.

The same users under the same seed are drawn alike, whichever model is evaluated. So the draws of a
metric's mean, taken from another model's one by one, are the draws of their paired difference.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The metrics of the report's first table: what people compare models by.
COMPARED = ("pair_accuracy", "satisfied_auc", "behaviour_ndcg@10", "true_ndcg@5", "true_top4")
_DATA = "data"


@dataclass(frozen=True)
class Draws:
    """The bootstrap's draws of a model's means.

    Attributes:
        data: A mark of the evaluated slates and answers: equal marks, equal data.
        by_metric: Metric → `[replicates]`; without the metrics that fewer than two users have.
    """

    data: str
    by_metric: Mapping[str, Floats]

    def interval_over(self, other: Draws, metric: str) -> tuple[float, float]:
        """The 95 % interval of this model's mean minus another's; NaN where it is not known.

        That is where the two were evaluated on other data, or too few users have the metric.
        """
        both = metric in self.by_metric and metric in other.by_metric
        if self.data != other.data or not both:
            return float("nan"), float("nan")
        difference = self.by_metric[metric] - other.by_metric[metric]
        low, high = np.nanpercentile(difference, [2.5, 97.5])
        return float(low), float(high)

    def to_bytes(self) -> bytes:
        """For TFMA, which stores a metric's value as a number or as bytes."""
        file = io.BytesIO()
        arrays = {name: draws.astype(np.float32) for name, draws in self.by_metric.items()}
        np.savez(file, **{_DATA: np.array(self.data)}, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Draws:
        """Reads what `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(
                str(arrays[_DATA]),
                {name: arrays[name].astype(np.float64) for name in arrays.files if name != _DATA},
            )

    def to_json(self) -> dict[str, object]:
        """Plain data, to six digits."""
        draws = {
            name: [float(f"{value:.6g}") for value in values]
            for name, values in self.by_metric.items()
        }
        return {"data": self.data, "by_metric": draws}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Draws:
        """Reads what `to_json` made, NaN as null."""
        return cls(
            content["data"],
            {
                name: np.array(values, dtype=np.float64)
                for name, values in content["by_metric"].items()
            },
        )
