"""Slates in memory: what ExampleGen's columnar core and the Transform graph make of a log.

An experiment trains hundreds of models on the same slates, so these are made once, by the code of
the pipeline, and kept as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.evaluation.slates import candidate_hashes, text_hash
from pipeline.example_gen.columnar import one_chunk, take
from pipeline.example_gen.example_encoding import encode_examples
from pipeline.example_gen.examples import example_batch, order_in_time, with_pair_groups
from pipeline.example_gen.pair_groups import members
from pipeline.example_gen.slates import BuiltSlates
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.readers import (
    find_tables,
    read_features,
    read_impressions,
    read_questionnaires,
)
from pipeline.transform import PASSED_THROUGH
from pipeline.whole_files import whole_file

Array = NDArray[Any]
Arrays = dict[str, Array]

# Of the random ranking and of tie-breaks, as in the pipeline's evaluation.
HASH_SEED = 0
_SLATES_PER_CHUNK = 4096


@dataclass(frozen=True)
class CanonicalLog:
    """The tables of a log as `pipeline.logs.readers` give them; None for a table it has not."""

    impressions: pa.Table
    questionnaires: pa.Table | None
    users: pa.Table | None
    items: pa.Table | None
    file_names: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Judged:
    """What the evaluation knows of some slates of width W; padding is NaN, or −1 in whole numbers.

    Attributes:
        user, request: uint64 `[slates]`, `text_hash` of the ids.
        size: `[slates]` candidates.
        level, answer: int8 `[slates, W]`, see `pipeline.logs.canonical`.
        popularity, tie_break: float `[slates, W]`.
        true_satisfaction, engagement: float32 `[slates, W]`, NaN where nobody knows.
    """

    user: Array
    request: Array
    size: Array
    level: Array
    answer: Array
    popularity: Array
    tie_break: Array
    true_satisfaction: Array
    engagement: Array

    @property
    def candidates(self) -> Array:
        """bool `[slates, W]`: where there is a candidate."""
        return np.arange(self.level.shape[1]) < self.size[:, None]


def read_log(config: DatasetConfig, data_dir: str | Path) -> CanonicalLog:
    """Reads all tables of a small log."""
    parts = find_tables(config, data_dir)

    def rows(name: str, read: Any) -> pa.Table | None:
        if name not in parts:
            return None
        batches = [batch.rows for part in parts[name] for batch in read(config, part)]
        return pa.Table.from_batches(batches)

    def features(name: str) -> pa.Table | None:
        return read_features(config, parts[name]).rows if name in parts else None

    impressions = rows("impressions", read_impressions)
    assert impressions is not None
    return CanonicalLog(
        impressions,
        rows("questionnaires", read_questionnaires),
        features("users"),
        features("items"),
        {name: tuple(dict.fromkeys(part.name for part in parts[name])) for name in parts},
    )


def slate_examples(
    slates: pa.Table, log: CanonicalLog, popularity: pa.Table, config: DatasetConfig
) -> pa.RecordBatch:
    """The example columns of slates, in the order of the Examples artifact: time, then ids."""
    return example_batch(take(slates, order_in_time(slates, "time")), log.items, popularity, config)


def answered_examples(
    built: BuiltSlates, log: CanonicalLog, popularity: pa.Table, config: DatasetConfig
) -> pa.RecordBatch | None:
    """The example columns of the answered split, pair groups in order; None without answers."""
    answered = built.answered
    if not answered.num_rows:
        return None
    answered_ms = one_chunk(answered, "answered_ms").to_numpy()
    anchors = order_in_time(answered, "answered_ms")
    rows, group = members(one_chunk(answered, "group_size").to_numpy(), anchors)
    slates = take(answered.drop_columns(["answered_ms", "group_size"]), rows)
    examples = example_batch(slates, log.items, popularity, config)
    return with_pair_groups(examples, group, answered_ms[anchors[group]])


def transformed(examples: pa.RecordBatch, transform: Any) -> Arrays:
    """Applies a `FittedTransform`; indices come out as int32."""
    parts: list[Arrays] = []
    for chunk in _chunks(examples):
        serialized = encode_examples(chunk).to_numpy(zero_copy_only=False)
        parts.append(transform(serialized))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: _compact(name, value) for name, value in joined.items()}


def _compact(name: str, value: Array) -> Array:
    if value.dtype == np.int64 and name not in PASSED_THROUGH:
        return value.astype(np.int32)
    return value


def judged(examples: pa.RecordBatch, width: int) -> Judged:
    """What the evaluation needs of slates; `engagement` is left unknown."""
    sizes = np.diff(np.asarray(examples.column("item_id").offsets))
    request_ids = _bytes(examples.column("request_id"))
    user_ids = _bytes(examples.column("user_id"))
    items = _bytes(examples.column("item_id").flatten())
    ends = np.cumsum(sizes)
    tie_break = np.concatenate(
        [
            candidate_hashes(request, items[end - size : end], HASH_SEED)
            for request, size, end in zip(request_ids, sizes, ends, strict=True)
        ]
    )
    inside = np.arange(width) < sizes[:, None]

    def padded(values: Array, padding: float, dtype: type) -> Array:
        table = np.full(inside.shape, padding, dtype)
        table[inside] = values
        return table

    def column(name: str, padding: float, dtype: type) -> Array:
        if name not in examples.schema.names:
            return np.full(inside.shape, np.nan, dtype)
        return padded(examples.column(name).flatten().to_numpy(), padding, dtype)

    return Judged(
        user=np.array([text_hash(text) for text in user_ids], np.uint64),
        request=np.array([text_hash(text) for text in request_ids], np.uint64),
        size=sizes.astype(np.int64),
        level=column("behaviour_level", -1, np.int8),
        answer=column("answer", -1, np.int8),
        popularity=column("popularity", np.nan, np.float32),
        tie_break=padded(tie_break, np.nan, np.float64),
        true_satisfaction=column("true_satisfaction", np.nan, np.float32),
        engagement=np.full(inside.shape, np.nan, np.float32),
    )


def _bytes(column: pa.Array) -> list[bytes]:
    return column.cast(pa.large_binary()).to_pylist()


def _chunks(examples: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, examples.num_rows, _SLATES_PER_CHUNK):
        yield examples.slice(start, _SLATES_PER_CHUNK)


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays to a `.npz` file in one step: there is all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load_arrays(path: Path) -> Arrays:
    """Reads what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
