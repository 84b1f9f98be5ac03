"""What became of every row of a span: `counts.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.example_gen.counts import Counts, nested_counts, require_all_counted, require_sum
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.impression_store import StoreReport
from pipeline.online.spans import Span

# What became of an answer, beside rejected.
_ANSWERS = ("trained", "holdout", "uncertain", "late_rejected", "duplicates", "not_answered")
_ALWAYS = {
    "impressions": ("read", "used"),
    "answers": (
        "read",
        "waited",  # for their impression, since an earlier span
        *_ANSWERS,
        "waiting",  # from now on
        "late_used",  # of trained and holdout: the impression is of an earlier span
        "satisfied",  # of trained
        "dissatisfied",
    ),
    "users": ("read", "used"),
    "items": ("read", "used"),
    "slates": ("read", "train", "holdout", "answered", "holdout_late"),
    "pairs": ("same_user", "in_request"),
    "unknown": ("users", "items"),
}
_REJECTING = ("impressions", "answers", "users", "items", "slates")


def span_counts(
    counts: Counts,
    dataset: DatasetConfig,
    span: Span,
    store: StoreReport,
    *,
    out_of_order: bool,
    newest_ms: int | None,
) -> dict[str, Any]:
    """The content of `counts.json`.

    Raises:
        RuntimeError: rows are lost or counted twice.
    """
    names = [feature.name for feature in dataset.features]
    report = {
        "span": {"number": span.number, "name": span.name, "out_of_order": out_of_order},
        "newest_ms": newest_ms,
        **nested_counts(Counter(counts), _ALWAYS, _REJECTING, names),
        "store": store.to_dict(),
    }
    for kind in ("impressions", "users", "items"):
        require_all_counted(report, kind, ("used",))
    require_all_counted(report, "slates", ("train", "holdout"))
    answers: Mapping[str, Any] = report["answers"]
    became = {name: answers[name] for name in (*_ANSWERS, "waiting")}
    became["rejected"] = sum(answers["rejected"].values())
    require_sum("answers", "read and waited", answers["read"] + answers["waited"], became)
    options = {name: answers[name] for name in ("satisfied", "dissatisfied")}
    require_sum("answers", "trained", answers["trained"], options)
    return report
