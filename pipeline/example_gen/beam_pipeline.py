"""The Beam pipeline around the columnar core.

    parts of the log ─ read ─┬─ rows, by shard of users ── build ─┬─ slates, by file ── write
                             └─ times ── plan (split, files) ──┘  ├─ answered slates ── write
                                                                  └─ likes ── popularity ──┘

An element is never a row: it is a table of a shard (Arrow, as compressed bytes), which on runners
that shuffle in memory waits in a file. Memory is bounded by a shard of users and by a file of
slates, whatever the size of the log. What is written depends on the log alone: not on the runner,
the number of workers or of shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import pvalue

from pipeline.beam_options import shuffles_in_memory
from pipeline.example_gen.columnar import Ints, one_chunk, take
from pipeline.example_gen.counts import Counts, add_counts, counts_report, read_counts
from pipeline.example_gen.example_encoding import encode_examples
from pipeline.example_gen.example_files import OutputFolder
from pipeline.example_gen.examples import (
    chunks_of,
    example_batch,
    order_in_time,
    popularity_of,
    unknown_candidates,
    with_pair_groups,
)
from pipeline.example_gen.pair_groups import members
from pipeline.example_gen.shuffle import Sent, Shuffle, from_bytes, shards_of, to_bytes
from pipeline.example_gen.slates import build_slates
from pipeline.example_gen.time_plan import ROWS_PER_FILE, TimeHistogram, TimePlan
from pipeline.logs.canonical import feature_column
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.files import LogPart
from pipeline.logs.readers import (
    QUESTIONNAIRE_ROWS,
    FeatureTable,
    read_features,
    read_impressions,
    read_questionnaires,
)
from pipeline.progress import ProgressReporter

# Rows are sent on in tables of about this many.
_ROWS_PER_TABLE = 500_000

TIMES, COUNTS, LETTERS = "times", "counts", "letters"
SLATES, ANSWERED, LIKED = "slates", "answered", "liked"


def make_examples(
    pipeline: beam.Pipeline,
    config: DatasetConfig,
    tables: dict[str, tuple[LogPart, ...]],
    output: OutputFolder,
    *,
    shards: int,
    rows_per_file: int = ROWS_PER_FILE,
) -> None:
    """Adds everything from the log to the files of the Examples artifact to a Beam pipeline.

    Args:
        pipeline: where to add it.
        config: the dataset.
        tables: the parts of its tables, see `pipeline.logs.readers.find_tables`.
        output: the artifact's folder; splits train, eval and answered, counts, dead letters.
        shards: how many shards of users; a shard has to fit in a worker's memory.
        rows_per_file: about how many impressions go into one file of slates.
    """
    log = [*tables["impressions"], *tables.get("questionnaires", ())]
    shuffle = Shuffle(output.shuffle_folder if shuffles_in_memory(pipeline) else None)
    read = _parallel(pipeline, "Log", log) | "ReadLog" >> beam.ParDo(
        _ReadLog(config, shards, shuffle)
    ).with_outputs(TIMES, COUNTS, LETTERS, main="rows")
    users = _feature_table(pipeline, "users", tables, config)
    items = _feature_table(pipeline, "items", tables, config)
    user_rows = users["rows"] | "ShardUsers" >> beam.FlatMap(_shards_of_users, shards)

    histogram = read[TIMES] | "AddTimes" >> beam.CombineGlobally(TimeHistogram.sum)
    plan = pvalue.AsSingleton(
        histogram
        | "Plan" >> beam.Map(TimePlan.of, config.split.eval_fraction, rows_per_file=rows_per_file)
    )
    file_names = {
        name: tuple(dict.fromkeys(part.name for part in tables[name]))
        for name in ("impressions", "questionnaires")
        if name in tables
    }
    built = (
        (read["rows"], user_rows)
        | "AllRows" >> beam.Flatten()
        | "ByShard" >> beam.GroupByKey()
        | "Build"
        >> beam.ParDo(_BuildShard(config, file_names, shuffle), plan).with_outputs(
            SLATES, ANSWERED, LIKED, COUNTS, LETTERS
        )
    )
    popularity = pvalue.AsSingleton(
        built[LIKED] | "Popularity" >> beam.CombineGlobally(_add_popularity)
    )
    item_table = pvalue.AsSingleton(items["rows"], default_value=b"")
    write = _Write(config, output)
    written = (
        built[SLATES]
        | "ByFile" >> beam.GroupByKey()
        | "WriteSlates" >> beam.FlatMap(write.slates, plan, item_table, popularity)
    )
    # The split exists even if nobody answered.
    nobody = pipeline | "NoAnswers" >> beam.Create([(0, b"")])
    _ = (
        (built[ANSWERED], nobody)
        | "AllAnswered" >> beam.Flatten()
        | "Together" >> beam.GroupByKey()
        | "WriteAnswered" >> beam.Map(write.answered, item_table, popularity)
    )
    stages = (read, users, items, built)
    _ = (
        (*(stage[COUNTS] for stage in stages), written)
        | "AllCounts" >> beam.Flatten()
        | "AddCounts" >> beam.CombineGlobally(add_counts)
        | "WriteCounts" >> beam.Map(write.counts, plan)
    )
    _ = (
        [stage[LETTERS] for stage in stages]
        | "AllLetters" >> beam.Flatten()
        | "LettersByFile" >> beam.GroupByKey()
        | "WriteLetters" >> beam.Map(write.letters)
    )


def _parallel(pipeline: beam.Pipeline, name: str, elements: list[Any]) -> beam.PCollection:
    return pipeline | name >> beam.Create(elements) | f"Spread{name}" >> beam.Reshuffle()


class _ReadLog(beam.DoFn):
    """Parts of impressions and questionnaires to rows by shard, their times and counts."""

    def __init__(self, config: DatasetConfig, shards: int, shuffle: Shuffle) -> None:
        self._config, self._shards, self._shuffle = config, shards, shuffle
        self._rows_read = 0

    def setup(self) -> None:
        self._progress = ProgressReporter("reading the log", "rows")

    def process(self, part: LogPart) -> Iterator[Any]:
        read = read_impressions if part.table == "impressions" else read_questionnaires
        counts: Counts = Counter()
        waiting: list[pa.RecordBatch] = []
        for batch in read(self._config, part):
            counts.update(read_counts(part.table, batch))
            if batch.rejected.num_rows:
                letters = pa.Table.from_batches([batch.rejected])
                yield pvalue.TaggedOutput(LETTERS, ((part.table, part.index), to_bytes(letters)))
            waiting.append(batch.rows)
            self._rows_read += batch.rows.num_rows
            self._progress.update(self._rows_read)
            if sum(rows.num_rows for rows in waiting) >= _ROWS_PER_TABLE:
                yield from self._send(part.table, waiting)
                waiting = []
        if waiting:
            yield from self._send(part.table, waiting)
        yield pvalue.TaggedOutput(COUNTS, counts)

    def finish_bundle(self) -> None:
        self._progress.update(self._rows_read, finished=True)

    def _send(self, table: str, batches: list[pa.RecordBatch]) -> Iterator[Any]:
        rows = pa.Table.from_batches(batches)
        # Where an id is a feature too, it is not needed twice.
        twice = {feature_column(name) for name in ("user_id", "item_id")}
        rows = rows.drop_columns(sorted(twice & set(rows.column_names)))
        by_shard = (of_shard for _, of_shard in shards_of(rows, "user_id", self._shards))
        for shard, sent in enumerate(self._shuffle.send(by_shard)):
            yield shard, (table, sent)
        if table == "impressions":
            time = one_chunk(rows, "time_ms").to_numpy()
            yield pvalue.TaggedOutput(TIMES, TimeHistogram.of(time))


def _feature_table(
    pipeline: beam.Pipeline,
    name: str,
    tables: dict[str, tuple[LogPart, ...]],
    config: DatasetConfig,
) -> dict[str, beam.PCollection]:
    """The users or items table; nothing where the dataset has none."""
    parts = [tables[name]] if name in tables else []
    return (
        pipeline
        | f"{name.capitalize()}Parts" >> beam.Create(parts)
        | f"Read{name.capitalize()}"
        >> beam.FlatMap(_read_features, name, config).with_outputs(COUNTS, LETTERS, main="rows")
    )


def _read_features(parts: tuple[LogPart, ...], name: str, config: DatasetConfig) -> Iterator[Any]:
    table: FeatureTable = read_features(config, parts)
    yield pvalue.TaggedOutput(COUNTS, read_counts(name, table))
    if table.rejected.num_rows:
        index = {part.name: part.index for part in parts}
        for (_, file), letters in _by_file(table.rejected):
            yield pvalue.TaggedOutput(LETTERS, ((name, index[file]), to_bytes(letters)))
    yield to_bytes(table.rows)


def _shards_of_users(rows: bytes, shards: int) -> Iterator[tuple[int, tuple[str, bytes]]]:
    for shard, of_shard in shards_of(from_bytes([rows]), "id", shards):
        yield shard, ("users", to_bytes(of_shard))


def _add_popularity(liked: Iterable[bytes]) -> bytes:
    nobody = pa.table({"item_id": pa.array([], pa.string()), "number": pa.array([], pa.int64())})
    parts = [part for part in liked if part]
    return to_bytes(popularity_of([nobody, *([from_bytes(parts)] if parts else [])]))


class _BuildShard(beam.DoFn):
    """All rows of a shard of users to slates by file, answered slates, likes."""

    def __init__(
        self, config: DatasetConfig, file_names: dict[str, tuple[str, ...]], shuffle: Shuffle
    ) -> None:
        self._config, self._file_names, self._shuffle = config, file_names, shuffle

    def process(
        self, shard: tuple[int, Iterable[tuple[str, Sent]]], plan: TimePlan
    ) -> Iterator[Any]:
        parts: dict[str, list[Sent]] = {"impressions": [], "questionnaires": [], "users": []}
        for table, rows in shard[1]:
            parts[table].append(rows)
        asked = self._config.questionnaire.from_behaviours is None
        built = build_slates(
            from_bytes(parts["impressions"]),
            _table_of(parts["questionnaires"], QUESTIONNAIRE_ROWS.empty_table()) if asked else None,
            _table_of(parts["users"], None),
            self._config,
            split_time_ms=plan.split_time_ms,
            file_names=self._file_names,
        )
        yield pvalue.TaggedOutput(COUNTS, built.counts)
        if built.liked.num_rows:
            yield pvalue.TaggedOutput(LIKED, to_bytes(built.liked))
        if built.answered.num_rows:
            yield pvalue.TaggedOutput(ANSWERED, (0, to_bytes(built.answered)))
        file = plan.file_of(one_chunk(built.slates, "time").to_numpy())
        order = np.argsort(file, kind="stable")
        numbers, starts = np.unique(file[order], return_index=True)
        slates = take(built.slates, order)
        sizes = np.diff(np.append(starts, len(order)))
        by_file = map(slates.slice, starts, sizes)
        for number, sent in zip(numbers, self._shuffle.send(by_file), strict=True):
            yield pvalue.TaggedOutput(SLATES, (int(number), sent))
        yield from self._letters(built.dead_letters)

    def _letters(self, letters: pa.Table) -> Iterator[Any]:
        for (table, file), rows in _by_file(letters):
            names = self._file_names.get(table, self._file_names["impressions"])
            yield pvalue.TaggedOutput(LETTERS, ((table, names.index(file)), to_bytes(rows)))


def _table_of(parts: list[Sent], otherwise: pa.Table | None) -> pa.Table | None:
    return from_bytes(parts) if parts else otherwise


def _by_file(letters: pa.Table) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    pairs = letters.select(["table", "file"]).group_by(["table", "file"]).aggregate([])
    for row in pairs.to_pylist():
        same = pc.and_(
            pc.equal(letters["table"], row["table"]),
            pc.equal(letters["file"], row["file"]),
        )
        yield (row["table"], row["file"]), letters.filter(same)


class _Write:
    """Writes files; each method is the body of one Beam step."""

    def __init__(self, config: DatasetConfig, output: OutputFolder) -> None:
        self._config, self._output = config, output

    def slates(
        self, file: tuple[int, Iterable[Sent]], plan: TimePlan, items: bytes, popularity: bytes
    ) -> Iterator[Counts]:
        """One file of the train or eval split, in the order of time."""
        number, tables = file
        progress = ProgressReporter("writing examples", "slates")
        slates = from_bytes(tables)
        order = order_in_time(slates, "time")
        split, number_in_split = plan.place_of_file(number)
        encoded = self._encoded(slates, order, None, None, items, popularity)
        self._output.write_records(split, number_in_split, encoded)
        progress.update(slates.num_rows, finished=True)
        if items:
            unknown = unknown_candidates(slates, from_bytes([items]))
            yield Counter({("unknown", "items"): unknown})

    def answered(
        self, tables: tuple[int, Iterable[bytes]], items: bytes, popularity: bytes
    ) -> None:
        """The one file of the answered split: pair groups in the order of their newest answer."""
        parts = [table for table in tables[1] if table]
        if not parts:
            self._output.write_records("answered", 0, [])
            return
        answered = from_bytes(parts)
        answered_ms = one_chunk(answered, "answered_ms").to_numpy()
        anchors = order_in_time(answered, "answered_ms")
        rows, group = members(one_chunk(answered, "group_size").to_numpy(), anchors)
        slates = answered.drop_columns(["answered_ms", "group_size"])
        group_time = answered_ms[anchors[group]]
        encoded = self._encoded(slates, rows, group, group_time, items, popularity)
        self._output.write_records("answered", 0, encoded)

    def counts(self, counts: Counts, plan: TimePlan) -> None:
        """`counts.json`."""
        names = [feature.name for feature in self._config.features]
        split_time_ms = plan.split_time_ms
        report = counts_report(counts, split_time_ms=split_time_ms, features=names)
        self._output.write_counts(report)

    def letters(self, letters: tuple[tuple[str, int], Iterable[bytes]]) -> None:
        """The dead letters of one file, in the order of its rows."""
        (table, file), parts = letters
        rows = from_bytes(parts).sort_by([("row", "ascending"), ("reason", "ascending")])
        self._output.write_dead_letters(table, file, rows)

    def _encoded(
        self,
        slates: pa.Table,
        rows: Ints,
        group: Ints | None,
        group_time: Ints | None,
        items: bytes,
        popularity: bytes,
    ) -> Iterator[list[bytes]]:
        """The examples of these rows, in this order, some at a time."""
        item_table = from_bytes([items]) if items else None
        liked = from_bytes([popularity])
        for chunk, part in chunks_of(slates, rows):
            batch = example_batch(chunk, item_table, liked, self._config)
            if group is not None and group_time is not None:
                batch = with_pair_groups(batch, group[part], group_time[part])
            yield encode_examples(batch).to_pylist()
