"""How many ids of each hashed feature share their row of the embedding table with another id.

The ids that there are come from the statistics of the train split. Where these name them all, up
to a thousand, each is hashed as Transform hashes it and the rows are counted; else the share is
that of n ids thrown into m rows, 1 − e^(−n/m), which is what counting finds (docs/embeddings.md).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.logs.dataset_config import DatasetConfig, FeatureConfig
from pipeline.report.artifact_files import text_statistics

# Above it the report says what to do.
ADVISED_SHARE = 0.25
# What the advised tables leave.
_ONE_TABLE_SHARE, _TWO_TABLES_SHARE = 0.1, 1e-5


def collisions(statistics: str, dataset: DatasetConfig) -> list[dict[str, Any]]:
    """What each hashed column costs in ids that are not told apart.

    Args:
        statistics: The ExampleStatistics artifact's folder.
        dataset: Its features; those of one column with different buckets are one entry, since ids
            are taken for one another only where they share a row in all of its tables.

    Returns:
        An entry a column: `features`, `buckets` (rows of each table, one of them for missing
        values), `ids` (different ones in the train split), `share` of them that share, `measured`
        (counted, not computed) and `advice`, a sentence, or None where there is no need.
    """
    found = text_statistics(statistics, "train")
    columns: dict[tuple[str, str], list[FeatureConfig]] = defaultdict(list)
    for feature in dataset.features:
        if not feature.numeric and feature.name in found:
            columns[feature.table, feature.column].append(feature)
    return [_entry(features, found[features[0].name]) for features in columns.values()]


def _entry(
    features: Sequence[FeatureConfig], known: statistics_pb2.StringStatistics
) -> dict[str, Any]:
    # An empty text is a missing value, which has a row of its own.
    named = [bucket.label for bucket in known.rank_histogram.buckets]
    ids = int(known.unique) - ("" in named)
    rows = [feature.buckets - 1 for feature in features]
    measured = len(named) == known.unique
    shared = (
        counted_share([name for name in named if name], rows)
        if measured
        else expected_share(ids, rows)
    )
    return {
        "features": [feature.name for feature in features],
        "buckets": [feature.buckets for feature in features],
        "ids": ids,
        "share": shared,
        "measured": measured,
        "advice": advice(ids) if shared > ADVISED_SHARE else None,
    }


def expected_share(ids: int, rows: Sequence[int]) -> float:
    """The share of ids that share their row in every table with the same other id.

    Args:
        ids: How many there are.
        rows: Of each table, the row of missing values apart; no two with a common factor.
    """
    return -math.expm1(-ids / math.prod(rows))


def counted_share(ids: Sequence[str], rows: Sequence[int]) -> float:
    """The same, by hashing the ids; 0 without any."""
    if not ids:
        return 0.0
    hashes = [tf.strings.to_hash_bucket_fast(list(ids), number).numpy() for number in rows]
    places = Counter(zip(*hashes, strict=True))
    return sum(number for number in places.values() if number > 1) / len(ids)


def advice(ids: int) -> str:
    """What to write in the dataset config so that so many ids are told apart."""
    one = math.ceil(-ids / math.log1p(-_ONE_TABLE_SHARE)) + 1
    prime = next_prime(math.ceil(math.sqrt(ids / _TWO_TABLES_SHARE)))
    other = next_prime(prime + 1)
    if one <= prime + other + 2:
        return f"buckets: {one} leaves {_ONE_TABLE_SHARE:.0%}"
    return (
        f"two features of the column with buckets: {prime + 1} and {other + 1} leave "
        f"{_TWO_TABLES_SHARE:.3%}; one would need {one}"
    )


def next_prime(least: int) -> int:
    """The smallest prime that is not below `least`."""
    number = max(least, 2)
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number
