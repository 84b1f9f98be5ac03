"""The examples of one span, and the impression store after it.

    report = write_span_examples(span, dataset, store_in, out_dir, store_out)

writes the splits

    train           slates of the span, in the order of time, with the answers that came with them
    answered        pair groups of the answers that arrived with the span, whatever span their
                    impression is from; the anchor, the new answer, is the last of its group
    holdout         slates of held-out users, as in train; these users are never trained on
    holdout_late    their slates of earlier spans whose answers arrived with this one

and beside them `counts.json` and `dead_letters/`. It is a function of the store before, the files
of the span and the users and items tables: the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.example_gen.columnar import Ints, numbers
from pipeline.example_gen.example_files import OutputFolder
from pipeline.example_gen.examples import (
    NO_PAIR_GROUP,
    chunks_of,
    order_in_time,
)
from pipeline.logs.checked import require
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.impression_store import ImpressionStore, StoreLimits, write_store
from pipeline.online.slate_pieces import OF_EXAMPLE, examples_of
from pipeline.online.span_counts import span_counts
from pipeline.online.span_slates import SpanSlates, span_slates
from pipeline.online.span_tables import read_span
from pipeline.online.spans import Span, SpanError, fingerprint
from pipeline.record_files import write_sizes

SPLITS = ("train", "answered", "holdout", "holdout_late")


def write_span_examples(
    span: Span,
    dataset: DatasetConfig,
    store_in: str | Path | None,
    out_dir: str | Path,
    store_out: str | Path,
    *,
    holdout: float = 0.1,
    limits: StoreLimits | None = None,
    shared: str | Path | None = None,
) -> dict[str, Any]:
    """Writes the examples of a span and the impression store after it.

    Args:
        span: complete.
        dataset: what its tables mean.
        store_in: folder of the store after the span before; None before the first span.
        out_dir: folder for the splits, `counts.json` and `dead_letters/`.
        store_out: folder for the new store.
        holdout: share of the users that are held out, the same in every span.
        limits: of the store.
        shared: folder of the users and items tables where a span brings none of its own.
            Default: the folder that the span lies in.

    Returns:
        The content of `counts.json`.

    Raises:
        LogError: a table cannot be read.
        SpanError: the span was learnt before, or the store does not fit the dataset.
    """
    require(0 <= holdout < 1, "holdout", holdout, "0 or more, and less than 1")
    limits = limits or StoreLimits()
    store = ImpressionStore.empty() if store_in is None else ImpressionStore.open(store_in, dataset)
    mark = fingerprint(span)
    if not store.is_new(span, mark):
        raise SpanError(span.path, "was learnt already", "go on with the next span")
    shared = span.path.parent if shared is None else Path(shared)
    tables = read_span(dataset, span, shared=shared, delay_ms=limits.delay_ms)
    clock_ms = max(store.clock_ms, tables.newest_ms or 0)
    made = span_slates(
        span, tables, store, dataset, holdout=holdout, limits=limits, clock_ms=clock_ms
    )
    output = OutputFolder(str(out_dir))
    _write_splits(output, made, first_group=store.pair_groups)
    stored = write_store(
        store_out,
        store,
        span,
        mark,
        made.segment,
        dataset,
        limits,
        waiting=made.waiting,
        clock_ms=clock_ms,
        pair_groups=store.pair_groups + made.groups.groups,
    )
    report = span_counts(
        made.counts,
        dataset,
        span,
        stored,
        out_of_order=any(done.number > span.number for done in store.processed),
        newest_ms=tables.newest_ms,
    )
    output.write_counts(report)
    output.tidy()
    write_sizes(output.uri)
    return report


def _write_splits(output: OutputFolder, made: SpanSlates, *, first_group: int) -> None:
    alone = (
        ("train", made.train, "time"),
        ("holdout", made.holdout, "time"),
        ("holdout_late", made.holdout_late, "answered_ms"),
    )
    for split, slates, time in alone:
        order = order_in_time(slates, time)
        no_group, times = np.full(len(order), NO_PAIR_GROUP), numbers(slates, time)[order]
        output.write_records(split, 0, _examples(slates, order, no_group, times))
    groups = made.groups
    numbered = groups.group + first_group, groups.group_time
    output.write_records("answered", 0, _examples(groups.slates, groups.rows, *numbered))
    for name, letters in made.dead_letters.items():
        by_place = [("file", "ascending"), ("row", "ascending"), ("reason", "ascending")]
        output.write_dead_letters(name, 0, pa.concat_tables(letters).sort_by(by_place))


def _examples(slates: pa.Table, rows: Ints, group: Ints, group_time: Ints) -> Iterator[list[bytes]]:
    """The examples of these rows, in this order, some at a time."""
    for chunk, part in chunks_of(slates.select(OF_EXAMPLE), rows):
        yield examples_of(chunk, group[part], group_time[part]).to_pylist()
