"""Embedding tables of a cell without the rows that none of its slates reads.

Ids are hashed into tables with room to grow: the worlds of the experiments read 5,900 of 26,600
rows. A row that is never read has a gradient of 0 and never moves, yet Adam goes over it in every
step, which took half of a step's time. So here the ids of a cell are numbered anew, and a model has
the rows that are read, with the very values that the whole table would have begun with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from easq_keras.layers import FeatureSpec
from experiments.cells import Cell
from experiments.slate_arrays import Arrays
from pipeline.training_session import feature_specs

# Tables grow by so many rows at a time: cells that differ by a few ids share a compiled model.
_STEP = 512


@dataclass(frozen=True)
class CompactCell:
    """A cell whose ids are numbered anew.

    Attributes:
        cell: its slates, with the new numbers.
        whole: the features as the pipeline's Trainer has them.
        features: the same with compact tables.
        rows: by feature, the rows of the whole table that the compact one has; those of whole
            tables are not in it.
    """

    cell: Cell
    whole: Sequence[FeatureSpec]
    features: Sequence[FeatureSpec]
    rows: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, cell: Cell) -> CompactCell:
        """Numbers the ids of all slates of a cell anew, those of validation and test as well."""
        whole = feature_specs(cell.config)
        parts = (cell.train, cell.answered, cell.validation[0], cell.test[0])
        features, rows = [], {}
        for spec in whole:
            if spec.num_buckets is not None and spec.num_buckets > _STEP:
                read = _rows_read(spec, parts)
                if len(read) < spec.num_buckets:
                    rows[spec.name] = read
                    spec = FeatureSpec(**{**spec.get_config(), "num_buckets": len(read)})
            features.append(spec)
        train, answered, validation, test = (_renumbered(part, rows) for part in parts)
        compact = dataclasses.replace(
            cell,
            train=train,
            answered=answered,
            validation=(validation, cell.validation[1]),
            test=(test, cell.test[1]),
        )
        return cls(compact, whole, features, rows)

    @property
    def table_sizes(self) -> tuple[int | None, ...]:
        """Rows of each feature's table: what a compiled model of this cell is bound to."""
        return tuple(spec.num_buckets for spec in self.features)

    def give_rows(self, whole: keras.Model, compact: keras.Model) -> None:
        """Gives a model with compact tables the values of one with whole tables.

        Args:
            whole: of the features `whole`.
            compact: the same model of `features`.
        """
        for source, target in zip(whole.variables, compact.variables, strict=True):
            value: Any = source
            if source.shape != target.shape:
                # A table's variable is …/<feature>/embeddings.
                feature = source.path.split("/")[-2]
                value = np.asarray(source)[self.rows[feature]]
            target.assign(value)


def _rows_read(spec: FeatureSpec, parts: Sequence[Arrays]) -> NDArray[np.int64]:
    """Row 0, the rows that some slates read, and others up to a multiple of `_STEP`; ascending."""
    assert spec.num_buckets is not None
    read = np.unique(np.concatenate([[0], *(part[spec.name].ravel() for part in parts)]))
    size = min(-(-len(read) // _STEP) * _STEP, spec.num_buckets)
    others = np.setdiff1d(np.arange(spec.num_buckets), read)
    return np.union1d(read, others[: size - len(read)]).astype(np.int64)


def _renumbered(slates: Arrays, rows: dict[str, NDArray[np.int64]]) -> Arrays:
    new = {
        name: np.searchsorted(kept, slates[name]).astype(slates[name].dtype)
        for name, kept in rows.items()
    }
    return {**slates, **new}
