"""Users taken out of what runs keep of examples: records, dead letters, statistics, memories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.forget.names import UserNames
from pipeline.logs.canonical import NOT_ANSWERED
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.dead_letters import DEAD_LETTER_SCHEMA, plain_value
from pipeline.record_files import SIZES_FILE, write_sizes
from pipeline.version_folder import CHECKSUMS, write_checksums
from pipeline.whole_files import sync_folder, whole_file

# Splits that hold a slate because of its answers.
_OF_ANSWERS = ("answered", "holdout_late")


def forget_examples(split: Path, names: UserNames, *, answers_only: bool) -> int:
    """Takes the users' slates, or their answers, out of the records of a split.

    Returns:
        How many records were theirs.
    """
    import tensorflow as tf

    drop = not answers_only or split.name.removeprefix("Split-") in _OF_ANSWERS

    def rewritten(record: bytes) -> bytes | None:
        example = tf.train.Example.FromString(record)
        features = example.features.feature
        if not names.encoded.intersection(features["user_id"].bytes_list.value):
            return record
        if drop:
            return None
        answers = features["answer"].int64_list.value
        answers[:] = [NOT_ANSWERED] * len(answers)
        return example.SerializeToString(deterministic=True)

    return sum(_rewrite_records(path, rewritten) for path in sorted(split.glob("*.tfrecord")))


def forget_artifact(
    folder: Path, names: UserNames, dataset: DatasetConfig, *, answers_only: bool
) -> tuple[int, int]:
    """Takes the users out of an Examples artifact; how many records and dead letters were theirs.

    Args:
        folder: holds the splits.
        names: the users.
        dataset: what the examples were made with.
        answers_only: their slates stay, without answers.
    """
    sizes = folder / SIZES_FILE
    listed = sizes.exists()
    # Sizes of files that are about to change would make them look damaged.
    sizes.unlink(missing_ok=True)
    splits = sorted(folder.glob("Split-*"))
    records = sum(forget_examples(split, names, answers_only=answers_only) for split in splits)
    letters = sum(
        forget_dead_letters(path, names, dataset, answers_only=answers_only)
        for path in sorted(folder.glob("dead_letters/*.parquet"))
    )
    if listed or records or letters:
        write_sizes(str(folder))
    return records, letters


def has_examples(split: Path, names: UserNames) -> bool:
    """Whether a slate of the users is in a split, which may be absent."""
    import tensorflow as tf

    files = sorted(str(path) for path in split.glob("*.tfrecord"))
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator() if files else ():
        features = tf.train.Example.FromString(record).features.feature
        if names.encoded.intersection(features["user_id"].bytes_list.value):
            return True
    return False


def forget_warmups(path: Path, names: UserNames) -> int:
    """Takes the requests of the users out of a warm-up file; the number of these."""
    # A text of a protocol buffer stands after its length, whatever message holds it.
    theirs = [bytes([len(name)]) + name for name in names.encoded if len(name) < 128]
    removed = _rewrite_records(
        path, lambda record: None if any(text in record for text in theirs) else record
    )
    version = path.parent.parent
    if (version / CHECKSUMS).exists():
        # Also where nothing was removed: a command may have been killed in between.
        write_checksums(version)
    return removed


def _rewrite_records(path: Path, rewritten: Callable[[bytes], bytes | None]) -> int:
    """Writes a file of records anew where `rewritten` changes one; returns how many it changed."""
    import tensorflow as tf

    def records() -> Iterable[bytes]:
        return tf.data.TFRecordDataset(str(path)).as_numpy_iterator()

    changed = sum(rewritten(record) != record for record in records())
    if changed:
        with whole_file(path) as partial:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for record in records():
                    kept = rewritten(record)
                    if kept is not None:
                        writer.write(kept)
            _sync(partial)
        sync_folder(path.parent)
    return changed


def forget_dead_letters(
    path: Path, names: UserNames, dataset: DatasetConfig, *, answers_only: bool
) -> int:
    """Takes the users' rows out of a file of dead letters; the number of these."""
    columns = {"user_id", dataset.columns.user_id}
    if dataset.tables.users is not None:
        columns.add(dataset.users_key)
    if dataset.questionnaire.columns is not None:
        columns.add(dataset.questionnaire.columns.user_id)
    shown = {plain_value(name) for name in names.made_of_logs}
    letters = pq.read_table(path)

    def kept(table: str, values: str) -> bool:
        if answers_only and table != "questionnaires":
            return True
        found = json.loads(values)
        return not any(str(found.get(column)) in shown for column in columns)

    keep = [kept(row["table"], row["values"]) for row in letters.to_pylist()]
    removed = len(keep) - sum(keep)
    if removed:
        with whole_file(path) as partial:
            some = letters.filter(pa.array(keep, pa.bool_())).cast(DEAD_LETTER_SCHEMA)
            pq.write_table(some, partial)
            _sync(partial)
        sync_folder(path.parent)
    return removed


def forget_statistics(path: Path, names: UserNames) -> int:
    """Takes the users' ids out of the most frequent values of a split; how many were there."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    def theirs(value: str) -> bool:
        # A request id made from time begins with the user's.
        return value in names.made_of_logs or value.partition("/")[0] in names.made_of_logs

    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    removed = 0
    for dataset in found.datasets:
        for feature in dataset.features:
            if {feature.name, *feature.path.step} & {"user_id", "request_id"}:
                text = feature.string_stats
                top = [one for one in text.top_values if not theirs(one.value)]
                ranks = [one for one in text.rank_histogram.buckets if not theirs(one.label)]
                removed += len(text.top_values) - len(top)
                removed += len(text.rank_histogram.buckets) - len(ranks)
                del text.top_values[:], text.rank_histogram.buckets[:]
                text.top_values.extend(top)
                text.rank_histogram.buckets.extend(ranks)
    if removed:
        _write(path, found.SerializeToString(deterministic=True))
    return removed


def forget_bucket_names(path: Path, names: UserNames) -> int:
    """Takes the users' ids out of the names that TensorBoard's projector shows of hash buckets."""
    shown = {" ".join(name.split()) for name in names.made_of_logs}
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    found = 0
    for place, line in enumerate(lines):
        values, *counts = line.split("\t")
        kept = [value for value in values.split(", ") if value not in shown]
        if ", ".join(kept) != values:
            found += 1
            lines[place] = "\t".join([", ".join(kept) or "(forgotten)", *counts])
    if found:
        _write(path, ("\n".join([header, *lines]) + "\n").encode())
    return found


def forget_memory(path: Path, names: UserNames, dataset: DatasetConfig) -> int:
    """Takes the users' answered slates out of what training replays; the number of slates.

    The memory holds no ids but their hash buckets. What other users of the same bucket answered is
    no longer replayed either; without the feature `user_id`, nobody's is.
    """
    import tensorflow as tf

    from pipeline.training_input import AnsweredSlates

    memory = AnsweredSlates.load(path)
    of_ids = [each.buckets for each in dataset.features if each.name == "user_id" and each.buckets]
    theirs = np.ones(len(memory), np.bool_)
    if of_ids and "user_id" in memory.tensors:
        ids = tf.strings.to_hash_bucket_fast(sorted(names.encoded), of_ids[0] - 1).numpy() + 1
        theirs = np.isin(memory.tensors["user_id"].reshape(len(memory), -1)[:, 0], ids)
    if theirs.any():
        with whole_file(path) as partial:
            with partial.open("wb") as file:
                memory.without(theirs).save(file)
            _sync(partial)
        sync_folder(path.parent)
    return int(theirs.sum())


def forget_tested(path: Path, names: UserNames) -> int:
    """Takes the users out of what a prequential test kept of answers; the number of slates."""
    from pipeline.evaluation.slates import Kept, text_hash
    from pipeline.online.prequential import load_kept

    kept = load_kept(path)
    theirs = [text_hash(name) for name in names.encoded]
    masks = {
        name: ~np.isin(getattr(kept, name), np.array(theirs, np.uint64))
        for name in ("user", "list_user")
    }
    removed = int((~masks["user"]).sum())
    if removed:
        rows: dict[str, Any] = {}
        for field in fields(Kept):
            mask = masks["list_user" if field.name.startswith("list_") else "user"]
            values = getattr(kept, field.name)
            axis = 1 if field.name in ("by_ranker", "list_scores") else 0
            rows[field.name] = np.compress(mask, values, axis)
        with whole_file(path) as partial:
            with partial.open("wb") as file:
                np.savez(file, **rows)
            _sync(partial)
        sync_folder(path.parent)
    return removed


def forget_sample(path: Path, names: UserNames) -> int:
    """Deletes the slate that `easq run` left for `easq predict` if it is one of the users'."""
    slate = json.loads(path.read_text(encoding="utf-8"))
    if str(slate.get("user_id")) not in names.made_of_logs:
        return 0
    path.unlink()
    return 1


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(content)
        _sync(partial)
    sync_folder(path.parent)


def _sync(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
