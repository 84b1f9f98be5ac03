"""Requests rebuilt from time, for logs that have no request id."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.logs.dataset_config import Rebuild

_DAY_MS = 86_400_000


def rebuild_requests(
    user_id: pa.Array, time_ms: np.ndarray, rebuild: Rebuild, max_candidates: int
) -> pa.Array:
    """The request id of each impression: `<user>/<time of the first row>[/<piece>]`.

    A user's rows are one request as long as no gap is longer than `rebuild.gap_minutes`, or
    within one day. A request of more than `max_candidates` rows is cut, in order of time, into
    as few pieces as will do, equally long up to one row.

    Args:
        user_id: text, [rows]; the rows of a user lie together.
        time_ms: int64, [rows]; ascending within a user.
        rebuild: the rule.
        max_candidates: the most rows a request may have.

    Returns:
        Text, [rows]; equal for the rows of one request, different for those of others, and the
        same whatever other users' rows are there.

    Raises:
        ValueError: a user's times are not ascending.
    """
    rows = len(time_ms)
    if rows == 0:
        return pa.array([], pa.string())
    user_id = user_id.combine_chunks() if isinstance(user_id, pa.ChunkedArray) else user_id
    first = np.ones(rows, bool)
    first[1:] = pc.not_equal(user_id[1:], user_id[:-1]).to_numpy(zero_copy_only=False)
    later = np.diff(time_ms)
    if (later[~first[1:]] < 0).any():
        raise ValueError("the rows of a user must be in ascending order of time")
    if rebuild.gap_minutes is not None:
        first[1:] |= later > rebuild.gap_minutes * 60_000
    else:
        day = (time_ms + int(rebuild.utc_offset_hours * 3_600_000)) // _DAY_MS
        first[1:] |= np.diff(day) != 0
    start = np.flatnonzero(first)
    size = np.diff(np.append(start, rows))
    pieces = -(-size // max_candidates)
    of_row = np.repeat(np.arange(len(start)), size)
    piece = (np.arange(rows) - start[of_row]) * pieces[of_row] // size[of_row]
    stem = pc.binary_join_element_wise(
        user_id.take(pa.array(start)), pa.array(time_ms[start]).cast(pa.string()), "/"
    ).take(pa.array(of_row))
    if pieces.max() == 1:
        return stem
    numbered = pc.binary_join_element_wise(stem, pa.array(piece).cast(pa.string()), "/")
    return pc.if_else(pa.array(piece > 0), numbered, stem)
