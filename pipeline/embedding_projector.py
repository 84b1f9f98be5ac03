"""The embedding tables for TensorBoard's projector.

Ids and categories are hashed, so a row of a table is a bucket and not a value. A bucket is named by
the values that fell into it in a sample of slates; with more than one value, these share its
vector. Buckets that the sample does not reach are left out: most are still as they were drawn.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable

import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from easq_keras.models import EMER
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.training_session import RawAndTransformed
from pipeline.transform import MASK

# The projector keeps all rows in the browser.
MAX_ROWS = 2000
_NAMED = 3
CONFIG_FILE = "projector_config.pbtxt"


def write_projector(
    folder: str, model: EMER, config: DatasetConfig, sample: Iterable[RawAndTransformed]
) -> None:
    """Writes a table of vectors and one of names for each id and category, and their list.

    Args:
        folder: Where TensorBoard finds the event files.
        model: Trained.
        config: Which features there are.
        sample: Slates that name the buckets; the rows seen most often in it are kept.
    """
    features = [feature for feature in config.features if not feature.numeric]
    seen: dict[str, Counter[tuple[int, bytes]]] = defaultdict(Counter)
    for raw, transformed in sample:
        real = transformed[MASK].numpy() > 0
        for feature in features:
            buckets, values = transformed[feature.name].numpy(), raw[feature.name]
            if feature.level == "candidate":
                buckets, values = buckets[real], values.to_tensor(shape=real.shape)[real]
            values = values.numpy()
            seen[feature.name].update(zip(buckets.tolist(), values.tolist(), strict=True))
    listed = ProjectorConfig()
    for feature in features:
        vectors = model.embedding.tables[feature.name].embeddings.numpy()
        rows = _rows(seen[feature.name])
        names = [f"{_name(values)}\t{bucket}\t{times}" for bucket, values, times in rows]
        table = vectors[[bucket for bucket, _, _ in rows]]
        _write(folder, f"{feature.name}.vectors.tsv", ["\t".join(map(str, row)) for row in table])
        _write(folder, f"{feature.name}.names.tsv", ["values\tbucket\ttimes seen", *names])
        listed.embeddings.add(
            tensor_name=feature.name,
            tensor_path=f"{feature.name}.vectors.tsv",
            metadata_path=f"{feature.name}.names.tsv",
        )
    _write(folder, CONFIG_FILE, [text_format.MessageToString(listed).rstrip()])


def _rows(seen: Counter[tuple[int, bytes]]) -> list[tuple[int, list[bytes], int]]:
    """The buckets with their values, both by how often they were seen."""
    by_bucket: dict[int, list[bytes]] = defaultdict(list)
    times: Counter[int] = Counter()
    for (bucket, value), count in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        by_bucket[bucket].append(value)
        times[bucket] += count
    order = sorted(by_bucket, key=lambda bucket: (-times[bucket], bucket))
    return [(bucket, by_bucket[bucket], times[bucket]) for bucket in order[:MAX_ROWS]]


def _name(values: list[bytes]) -> str:
    texts = [value.decode("utf-8", "backslashreplace") or "(none)" for value in values[:_NAMED]]
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    # One line a row, a tab a column.
    return " ".join((", ".join(texts) + more).split())


def _write(folder: str, name: str, lines: list[str]) -> None:
    with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
        file.write("\n".join(lines) + "\n")
