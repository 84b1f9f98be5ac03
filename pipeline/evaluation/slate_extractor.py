"""Raw slate examples to what the evaluation reads of them, a record batch at a time.

TFMA's own feature extractor turns each feature of each example into a tensor value of its own,
which for dozens of ragged features costs more than the model does. This one reads the few columns
that the metrics need, straight from Arrow, and hands on the serialized example for the model.

`custom_extractors` is the entry point that the Evaluator component looks for in this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray

from pipeline.evaluation.slates import candidate_hashes, text_hash
from pipeline.logs.canonical import NOT_ANSWERED

# The extracted feature that holds a slate's `SlateRecord`.
SLATE = "slate"
# Of the random ranking and of tie-breaks: fixed, so that runs can be compared.
HASH_SEED = 0

# Slices by how often the user was seen in training: the first value of each class.
USER_ACTIVITY = "user_activity"
_ACTIVITY_STARTS = (0, 1, 5, 20)
_ACTIVITY_NAMES = (b"new", b"1-4", b"5-19", b"20+")
# Slices by a feature of the candidates that were answered: before the feature's name.
ANSWERED = "answered_"


@dataclass(frozen=True)
class SlateRecord:
    """What the evaluation reads of one example: arrays of length n, the number of candidates.

    Attributes:
        request_id: for messages.
        user, request: `slates.text_hash` of the ids.
        random: the random ranking's scores, see `slates.candidate_hashes`.
        popularity, level, answer: the example's lists of these names (`level`: `behaviour_level`).
        true_satisfaction: the example's list; NaN where the log does not know it.
    """

    request_id: bytes
    user: int
    request: int
    random: NDArray[np.float64]
    popularity: NDArray[np.float64]
    level: NDArray[np.int64]
    answer: NDArray[np.int64]
    true_satisfaction: NDArray[np.float64]


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """The extractors of the evaluation: slates, predictions, one example each, slices."""
    del tensor_adapter_config  # Columns are read as they lie in the record batch.
    slice_by = sorted({key for spec in eval_config.slicing_specs for key in spec.feature_keys})
    return [
        tfma.extractors.Extractor(
            stage_name="ExtractSlates",
            ptransform="ExtractSlates" >> beam.Map(extract_slates, slice_by=slice_by),
        ),
        tfma.extractors.PredictionsExtractor(eval_config, eval_shared_model),
        tfma.extractors.UnbatchExtractor(),
        tfma.extractors.SliceKeyExtractor(eval_config=eval_config, materialize=False),
    ]


def extract_slates(extracts: dict[str, Any], slice_by: list[str]) -> dict[str, Any]:
    """Replaces the record batch by serialized examples, slate records and slicing features.

    Args:
        extracts: Holds `tfma.ARROW_RECORD_BATCH_KEY`.
        slice_by: Names of single-valued features of the example; `user_activity`; or `answered_`
            and the name of a feature of candidates, of which those that were answered count.

    Raises:
        ValueError: A column is missing, or does not have one value an example or a candidate.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    columns = _Columns(batch)
    slates = np.empty(batch.num_rows, dtype=object)
    slates[:] = slate_records(batch)
    features: dict[str, Any] = {SLATE: slates}
    for name in slice_by:
        if name == USER_ACTIVITY:
            seen = columns.scalars("user_train_slates").astype(np.int64)
            names = np.array(_ACTIVITY_NAMES, dtype=object)
            features[name] = names[np.searchsorted(_ACTIVITY_STARTS, seen, side="right") - 1]
        elif name.startswith(ANSWERED):
            values = columns.lists(name.removeprefix(ANSWERED))
            features[name] = _answered_values(values, slates)
        else:
            features[name] = columns.scalars(name)
    kept = {key: value for key, value in extracts.items() if key != tfma.ARROW_RECORD_BATCH_KEY}
    serialized = columns.scalars(tfma.constants.ARROW_INPUT_COLUMN)
    return {**kept, tfma.INPUT_KEY: serialized, tfma.FEATURES_KEY: features}


def _answered_values(
    values: list[NDArray[Any]], slates: NDArray[np.object_]
) -> tfma.types.VarLenTensorValue:
    """Of each slate, the different values of its answered candidates; numbers as their classes."""
    rows = []
    for of_slate, slate in zip(values, slates, strict=True):
        answered = of_slate[slate.answer != NOT_ANSWERED].tolist()
        names = {_number_class(one) if isinstance(one, float) else one for one in answered}
        rows.append(np.array(sorted(names), dtype=object))
    return tfma.types.VarLenTensorValue.from_dense_rows(rows)


def _number_class(value: float) -> bytes:
    """Classes between the powers of two: `16-32` holds 16 and not 32."""
    if value <= 0:
        return b"0 or less"
    low = 2.0 ** math.floor(math.log2(value))
    return f"{low:g}-{2 * low:g}".encode()


def slate_records(batch: pa.RecordBatch) -> list[SlateRecord]:
    """Reads the slates of a record batch of examples, one a row; raises `ValueError`."""
    columns = _Columns(batch)
    items = columns.lists("item_id")
    truth = (
        columns.lists("true_satisfaction")
        if columns.has("true_satisfaction")
        else [np.full(len(row), np.nan) for row in items]
    )
    by_name = {
        "popularity": columns.lists("popularity"),
        "behaviour_level": columns.lists("behaviour_level"),
        "answer": columns.lists("answer"),
        "true_satisfaction": truth,
    }
    request_ids, user_ids = columns.scalars("request_id"), columns.scalars("user_id")
    records = []
    for row, (request_id, user_id) in enumerate(zip(request_ids, user_ids, strict=True)):
        n = len(items[row])
        for name, values in by_name.items():
            if len(values[row]) != n:
                raise ValueError(
                    f"request {request_id!r}: {name} has {len(values[row])} values, item_id has "
                    f"{n}; every candidate list of an example must be of one length"
                )
        records.append(
            SlateRecord(
                request_id=request_id,
                user=text_hash(user_id),
                request=text_hash(request_id),
                random=candidate_hashes(request_id, items[row], HASH_SEED),
                popularity=by_name["popularity"][row].astype(np.float64),
                level=by_name["behaviour_level"][row].astype(np.int64),
                answer=by_name["answer"][row].astype(np.int64),
                true_satisfaction=by_name["true_satisfaction"][row].astype(np.float64),
            )
        )
    return records


class _Columns:
    """Columns of a record batch of examples: lists of values, a list an example."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def has(self, name: str) -> bool:
        return name in self._batch.schema.names

    def lists(self, name: str) -> list[NDArray[Any]]:
        values, sizes = self._values(name)
        return np.split(values, np.cumsum(sizes)[:-1])

    def scalars(self, name: str) -> NDArray[Any]:
        values, sizes = self._values(name)
        if (sizes != 1).any():
            row = int(np.flatnonzero(sizes != 1)[0])
            raise ValueError(
                f"{name} has {sizes[row]} values in an evaluated example; expected exactly one"
            )
        return values

    def _values(self, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        if not self.has(name):
            raise ValueError(
                f"evaluated examples have no feature {name}; they have "
                f"{', '.join(sorted(self._batch.schema.names))}"
            )
        column = self._batch.column(self._batch.schema.get_field_index(name))
        sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return column.flatten().to_numpy(zero_copy_only=False), sizes.astype(np.int64)
