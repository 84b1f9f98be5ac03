"""Slates to the columns of their `tf.Example`s: what is read from the items table, popularity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.example_gen.columnar import (
    ABSENT,
    Ints,
    lists,
    look_up_text,
    one_chunk,
    take,
    text_ranks,
)
from pipeline.example_gen.slates import feature_values
from pipeline.logs.dataset_config import DatasetConfig

NO_PAIR_GROUP = -1
_SLATES_PER_CHUNK = 8192


def popularity_of(liked: Iterable[pa.Table]) -> pa.Table:
    """Adds up the `liked` tables of all shards: `item_id` and `number`, by item id."""
    summed = pa.concat_tables(liked).group_by("item_id").aggregate([("number", "sum")])
    return summed.rename_columns(["item_id", "number"]).sort_by("item_id")


def example_batch(
    slates: pa.Table,
    items: pa.Table | None,
    popularity: pa.Table,
    config: DatasetConfig,
) -> pa.RecordBatch:
    """The columns of the examples of some slates, ready to be encoded.

    Args:
        slates: rows of `BuiltSlates.slates`.
        items: canonical rows of the items table; None where there is none.
        popularity: see `popularity_of`. For evaluation only, never a feature.
        config: the dataset.

    Returns:
        The columns, of slates in no pair group: `group_time` is the slate's own time.
    """
    columns = {name: one_chunk(slates, name) for name in slates.column_names}
    columns["pair_group"] = pa.array(np.full(slates.num_rows, NO_PAIR_GROUP))
    columns["group_time"] = columns["time"]
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


def with_pair_groups(batch: pa.RecordBatch, group: Ints, group_time: Ints) -> pa.RecordBatch:
    """The examples as members of pair groups: which one, and when its newest answer came."""
    for name, values in (("pair_group", group), ("group_time", group_time)):
        batch = batch.set_column(batch.schema.get_field_index(name), name, pa.array(values))
    return batch


def chunks_of(slates: pa.Table, rows: Ints) -> Iterator[tuple[pa.Table, slice]]:
    """These rows in this order, some at a time, and which of `rows` they are."""
    slates = slates.combine_chunks()  # or every `take` would do it again
    for start in range(0, len(rows), _SLATES_PER_CHUNK):
        part = slice(start, start + _SLATES_PER_CHUNK)
        yield take(slates, rows[part]), part


def order_in_time(slates: pa.Table, time: str) -> Ints:
    """The order of slates in a file: by a column with a time, then by user, then by request."""
    user, _ = text_ranks(slates.column("user_id"))
    request, _ = text_ranks(slates.column("request_id"))
    return np.lexsort((request, user, one_chunk(slates, time).to_numpy()))


def unknown_candidates(slates: pa.Table, items: pa.Table) -> int:
    """How many candidates of the slates the items table does not have."""
    ids = one_chunk(slates, "item_id").flatten()
    return int((look_up_text(ids, one_chunk(items, "id")) == ABSENT).sum())


def _rows(at: Ints) -> pa.Array:
    return pa.array(at, mask=at == ABSENT)
