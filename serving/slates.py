"""Turns slates as applications hold them into the tensors a ranker's signature wants, and scores
into rankings."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import tensors, wire
from serving.tensors import Array

ITEM = "item_id"
SCORE = "score"


@dataclass(frozen=True)
class Ranking:
    """The candidates of one slate, the best first.

    Attributes:
        items: (item id, score) by falling score; equal scores keep the order of the request.
        model_version: the version that scored them.
    """

    items: list[tuple[str, float]]
    model_version: int


@dataclass(frozen=True)
class _Input:
    dtype: int
    per_candidate: bool
    has_default: bool


class SlateSignature:
    """What a model's signature wants, learnt from its metadata.

    Request and user features have one value a slate (`[batch]` in the signature), candidate
    features one a candidate (`[batch, N]`).

    Args:
        metadata: the server's `GetModelMetadataResponse`.
        name: the signature's name.
        defaults: value of a feature that a slate leaves out or holds as None or NaN; without one
            here it is "" or 0.

    Raises:
        ValueError: the model has no such signature, or it ranks no slates, or a default is for no
            feature of it.
    """

    def __init__(self, metadata: Any, name: str, defaults: Mapping[str, Any]) -> None:
        signatures = wire.SignatureDefMap.FromString(metadata.metadata["signature_def"].value)
        if name not in signatures.signature_def:
            raise ValueError(
                f"the model has no signature {name!r}; it has {sorted(signatures.signature_def)}"
            )
        signature = signatures.signature_def[name]
        self.inputs = {
            key: _Input(info.dtype, len(info.tensor_shape.dim) == 2, key in signature.defaults)
            for key, info in signature.inputs.items()
        }
        if ITEM not in self.inputs or SCORE not in signature.outputs:
            raise ValueError(
                f"signature {name!r} ranks no slates: it needs an input {ITEM!r} and an output "
                f"{SCORE!r}, and has {sorted(signature.inputs)} and {sorted(signature.outputs)}"
            )
        self._check_names(defaults, "default")
        self._defaults = dict(defaults)

    def fill_inputs(self, request: Any, slates: Sequence[Any]) -> list[list[str]]:
        """Write slates into a `PredictRequest`, padded to the widest.

        Args:
            request: the request to fill.
            slates: each a mapping of feature to value or list of values, a DataFrame or an Arrow
                table of one row a candidate.

        Returns:
            The item ids of each slate.

        Raises:
            ValueError: a slate lacks `item_id`, has a feature the model does not know, lists of
                unequal length, or a value that is not of the feature's type.
        """
        if not slates:
            raise ValueError("no slate given")
        columns = [self._columns(slate) for slate in slates]
        items = [[_text(item) for item in one[ITEM]] for one in columns]
        width = max(len(ids) for ids in items)
        for name, wanted in self.inputs.items():
            if wanted.has_default and not any(name in one for one in columns):
                continue
            rows = []
            for one, ids in zip(columns, items, strict=True):
                default = self._default(name, wanted)
                if not wanted.per_candidate:
                    rows.append(_one_value(name, one.get(name), default))
                    continue
                given = one.get(name, [None] * len(ids))
                if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
                    raise ValueError(f"{name} needs one value a candidate, found {given!r}")
                if len(given) != len(ids):
                    raise ValueError(f"{name} has {len(given)} values for {len(ids)} candidates")
                values = [_or(value, default) for value in given]
                padding = b"" if wanted.dtype == tensors.DT_STRING else 0
                rows.append(values + [padding] * (width - len(values)))
            array = _typed(name, rows, wanted.dtype)
            tensors.fill_proto(request.inputs[name], array, as_content=True)
        return items

    def _columns(self, slate: Any) -> dict[str, Any]:
        if hasattr(slate, "to_pydict"):  # Arrow table or record batch
            slate = slate.to_pydict()
        elif hasattr(slate, "to_dict") and not isinstance(slate, Mapping):  # DataFrame
            slate = slate.to_dict("list")
        columns = dict(slate)
        self._check_names(columns, "feature")
        if ITEM not in columns:
            raise ValueError(f"a slate needs {ITEM}, the ids of its candidates")
        if isinstance(columns[ITEM], (str, bytes)) or not len(columns[ITEM]):
            raise ValueError(f"{ITEM} must be a list of at least one candidate")
        return columns

    def _check_names(self, given: Mapping[str, Any], what: str) -> None:
        for name in given:
            if name not in self.inputs:
                close = difflib.get_close_matches(name, self.inputs, 1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; it has {list(self.inputs)}"
                raise ValueError(f"{what} {name!r} is not one of the model's{hint}")

    def _default(self, name: str, wanted: _Input) -> Any:
        return self._defaults.get(name, b"" if wanted.dtype == tensors.DT_STRING else 0)


def rankings(response: Any, items: Sequence[Sequence[str]]) -> list[Ranking]:
    """Order each slate's candidates by the scores of a `PredictResponse`.

    Candidates without an id are padding and left out.

    Raises:
        ValueError: the scores do not fit the slates.
    """
    scores = tensors.to_array(response.outputs[SCORE])
    if scores.ndim != 2 or len(scores) != len(items) or scores.shape[1] < max(map(len, items)):
        raise ValueError(f"the server sent scores of shape {list(scores.shape)}")
    version = int(response.model_spec.version.value)
    ordered = []
    for ids, row in zip(items, scores, strict=True):
        order = np.argsort(-row[: len(ids)], kind="stable")
        pairs = [(ids[place], float(row[place])) for place in order.tolist() if ids[place]]
        ordered.append(Ranking(pairs, version))
    return ordered


def _text(item: Any) -> str:
    if item is None:
        return ""
    return item.decode() if isinstance(item, bytes) else str(item)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))


def _or(value: Any, default: Any) -> Any:
    return default if _is_missing(value) else value


def _one_value(name: str, value: Any, default: Any) -> Any:
    """The value of a feature that has one a slate; a table repeats it for each candidate."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return _or(value, default)
    if not len(value):
        return default
    first = value[0]
    if any(other != first and not (_is_missing(other) and _is_missing(first)) for other in value):
        raise ValueError(f"{name} has one value a slate, and the rows hold different ones")
    return _or(first, default)


def _typed(name: str, rows: list[Any], dtype: int) -> Array:
    if dtype == tensors.DT_STRING:
        nested = isinstance(rows[0], list)
        flat = [value for row in rows for value in row] if nested else rows
        encoded = [value if isinstance(value, bytes) else str(value).encode() for value in flat]
        shape = (len(rows), len(rows[0])) if nested else (len(rows),)
        return tensors.string_array(encoded, shape)
    try:
        return np.asarray(rows, tensors.numpy_type(dtype))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be {tensors.dtype_name(dtype)}: {error}") from error
