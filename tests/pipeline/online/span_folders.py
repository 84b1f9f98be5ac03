"""Spans of a few rows, and what is made of them one after the other."""

from pipeline.online.impression_store import StoreLimits
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span
from tests.pipeline.example_gen.small_logs import write_parquet
from tests.pipeline.example_gen.written import examples_in

# Nothing is ever too late to land.
PATIENT = StoreLimits(delay_hours=100_000)


def write_span(folder, name, impressions, answers, **tables):
    """The span `<folder>/spans/<name>` of rows as in `small_logs`."""
    write_parquet(folder / "spans" / name, impressions, answers, **tables)
    return Span.at(folder / "spans" / name)


def learn(folder, spans, dataset, *, holdout=0.0, limits=PATIENT):
    """The counts of each span; what is written lies in `<folder>/<name>` and `…-store`."""
    reports, before = [], None
    for span in spans:
        after = folder / f"{span.name}-store"
        reports.append(
            write_span_examples(
                span, dataset, before, folder / span.name, after, holdout=holdout, limits=limits
            )
        )
        before = after
    return reports


def records(folder, spans, split):
    """The examples of a split, span after span."""
    return [record for span in spans for record in examples_in(folder / span.name, split)]


def answers_in(record):
    """(user, request, item, code) of each answer that an example shows."""
    ids = record["user_id"][0].decode(), record["request_id"][0].decode()
    return [
        (*ids, item.decode(), code)
        for item, code in zip(record["item_id"], record["answer"], strict=True)
        if code >= 0
    ]


def anchors(folder, spans):
    """The last example of each pair group: the new answers."""
    groups = {}
    for record in records(folder, spans, "answered"):
        groups[record["pair_group"][0]] = record
    return list(groups.values())
