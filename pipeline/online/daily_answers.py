"""How many answers of a user's day were taken in earlier spans, for the daily limit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.example_gen.answers import MS_PER_DAY, TakenBefore
from pipeline.example_gen.columnar import Ints, numbers
from pipeline.logs.duplicates import mix
from pipeline.online.impression_store import ImpressionStore
from pipeline.online.keys import Keys, keys_of
from pipeline.online.span_groups import arrivals_of_store, arrivals_of_table


def taken_before(store: ImpressionStore, arrivals: pa.Table | None = None) -> TakenBefore:
    """Counts answers in the store, and among the span's own answered slates where they are given.

    The store remembers no answers of held-out users: theirs are limited span by span.
    """

    def taken(asked: pa.Table) -> Ints:
        users = keys_of(asked.column("user_id"))
        known = [arrivals_of_store(store, np.unique(users))[0]]
        if arrivals is not None:
            known.append(arrivals_of_table(arrivals))
        days, at = np.unique(
            np.concatenate([_days(each.user, each.ms) for each in known]), return_inverse=True
        )
        answers = np.concatenate([each.satisfied + each.dissatisfied for each in known])
        number = np.append(np.bincount(at, answers, len(days)).astype(np.int64), 0)
        wanted = _days(users, numbers(asked, "answered_ms"))
        place = np.searchsorted(days, wanted)
        found = np.append(days, np.uint64(0))[place] == wanted
        return np.where(found, number[place], 0)

    return taken


def _days(user: Keys, ms: Ints) -> Keys:
    """One key for each user and day."""
    return mix(user ^ mix((ms // MS_PER_DAY).astype(np.uint64)))
