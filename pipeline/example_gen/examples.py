"""Slates to the columns of their `tf.Example`s: what is read from the items table, popularity."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.example_gen.columnar import ABSENT, Ints, lists, look_up_text, one_chunk
from pipeline.example_gen.slates import feature_values
from pipeline.logs.dataset_config import DatasetConfig

NO_PAIR_GROUP = -1


def popularity_of(liked: Iterable[pa.Table]) -> pa.Table:
    """Adds up the `liked` tables of all shards: `item_id` and `number`, by item id."""
    summed = pa.concat_tables(liked).group_by("item_id").aggregate([("number", "sum")])
    return summed.rename_columns(["item_id", "number"]).sort_by("item_id")


def example_batch(
    slates: pa.Table,
    items: pa.Table | None,
    popularity: pa.Table,
    config: DatasetConfig,
    *,
    pair_group: Ints | None = None,
    group_time: Ints | None = None,
) -> pa.RecordBatch:
    """The columns of the examples of some slates, ready to be encoded.

    Args:
        slates: rows of `BuiltSlates.slates`.
        items: canonical rows of the items table; None where there is none.
        popularity: see `popularity_of`. For evaluation only, never a feature.
        config: the dataset.
        pair_group, group_time: `[slates]`; by default no group and the slate's own time.
    """
    count = slates.num_rows
    columns = {name: one_chunk(slates, name) for name in slates.column_names}
    if pair_group is None or group_time is None:
        pair_group, group_time = np.full(count, NO_PAIR_GROUP), columns["time"].to_numpy()
    columns["pair_group"], columns["group_time"] = pa.array(pair_group), pa.array(group_time)
    candidates = columns["item_id"]
    offsets = np.asarray(candidates.offsets) - candidates.offsets[0].as_py()
    ids = candidates.flatten()
    liked = one_chunk(popularity, "number").take(
        _rows(look_up_text(ids, one_chunk(popularity, "item_id")))
    )
    columns["popularity"] = lists(offsets, pc.fill_null(liked, 0).cast(pa.float32()))
    if items is not None:
        at = look_up_text(ids, one_chunk(items, "id"))
        for feature in config.features_of("items"):
            if feature.name != "item_id":
                columns[feature.name] = lists(offsets, feature_values(items, feature, at))
    return pa.RecordBatch.from_pydict(columns)


def unknown_candidates(slates: pa.Table, items: pa.Table) -> int:
    """How many candidates of the slates the items table does not have."""
    ids = one_chunk(slates, "item_id").flatten()
    return int((look_up_text(ids, one_chunk(items, "id")) == ABSENT).sum())


def _rows(at: Ints) -> pa.Array:
    return pa.array(at, mask=at == ABSENT)
