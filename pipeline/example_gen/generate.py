"""From a folder of logs to the files of an Examples artifact: one Beam pipeline, run to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam

from pipeline.beam_workers import fail_with_dead_workers
from pipeline.example_gen.beam_pipeline import make_examples
from pipeline.example_gen.example_files import OutputFolder
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.files import LogPart
from pipeline.logs.places import file_size
from pipeline.logs.readers import find_tables
from pipeline.record_files import write_sizes

SPLITS = ("train", "eval", "answered")
# A shard of users from so many bytes of files takes some 150 megabytes when it is built.
_BYTES_PER_SHARD = 8 << 20


def generate_examples(
    config: DatasetConfig,
    data_dir: str,
    output_uri: str,
    make_pipeline: Callable[[], beam.Pipeline],
) -> dict[str, Any]:
    """Writes the splits train, eval and answered, `counts.json`, `files.json`, `dead_letters/`.

    Args:
        config: the dataset.
        data_dir: the folder of the logs.
        output_uri: where to write.
        make_pipeline: makes the Beam pipeline, with the runner of one's choice.

    Returns:
        The content of `counts.json`.

    Raises:
        LogError: a table cannot be read, or nothing of the log is left to train or evaluate on.
    """
    tables = find_tables(config, data_dir)
    output = OutputFolder(output_uri)
    fail_with_dead_workers()
    with make_pipeline() as pipeline:
        make_examples(pipeline, config, tables, output, shards=_shards(tables))
    output.tidy()
    write_sizes(output_uri)
    report = output.read_counts()
    for split in ("train", "eval"):
        if not report["slates"][split]:
            raise _empty_split(split, data_dir, report)
    return report


def _shards(tables: dict[str, tuple[LogPart, ...]]) -> int:
    paths = {part.path for parts in tables.values() for part in parts}
    return -(-sum(map(file_size, paths)) // _BYTES_PER_SHARD)


def _empty_split(split: str, data_dir: str, report: dict[str, Any]) -> LogError:
    impressions, slates = report["impressions"], report["slates"]
    rejected = {**impressions["rejected"], **slates["rejected"]}
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(rejected.items()))
    return LogError(
        data_dir,
        f"no slate for the {split} split: of {impressions['read']} impressions "
        f"{impressions['used']} could be used (rejected: {reasons or 'none'}), which make "
        f"{slates['train']} slates before the split time and {slates['eval']} after it",
        "see dead_letters/ beside the examples, and slate and split in the dataset config",
    )
