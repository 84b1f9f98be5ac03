"""A real slate of the eval split as a client would send it, kept for `easq predict`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.local_runner import Workdir
    from pipeline.logs.dataset_config import DatasetConfig
    from pipeline.serving_requests import Slate


def client_slate(slate: Slate, dataset: DatasetConfig) -> dict[str, Any]:
    """Features of a logged slate by name: one value, or one value a candidate."""
    levels = {feature.name: feature.level for feature in dataset.features}
    request: dict[str, Any] = {}
    for name in dict.fromkeys(("item_id", *levels)):
        feature = slate.example.features.feature[name]
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value)
        if kind == "bytes_list":
            values = [value.decode("utf-8") for value in values]
        per_candidate = name == "item_id" or levels[name] == "candidate"
        request[name] = values if per_candidate else values[0]
    return request


def write_sample_slate(place: Workdir, slate: Slate, dataset: DatasetConfig) -> dict[str, Any]:
    """Writes the slate as `slate.json` into the work folder and returns it."""
    request = client_slate(slate, dataset)
    text = json.dumps(request, indent=1, ensure_ascii=False)
    (place.root / "slate.json").write_text(text, encoding="utf-8")
    return request
