"""Users taken out of an impression store, the one place where a store is changed.

The changed segments get files of a new edition; the manifest that names them takes effect in one
step, and only then do the old files go. Stores share files by hard links, and so do the new ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.example_gen.columnar import ABSENT, Bools, Ints, lists, one_chunk, take
from pipeline.forget.names import UserNames
from pipeline.logs.canonical import NOT_ANSWERED
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.arrow_files import read_table, write_table
from pipeline.online.impression_store import MANIFEST, STORE_ACTIVITY, STORE_WAITING
from pipeline.online.keys import Keys, keys_of
from pipeline.online.late_answers import candidate_keys
from pipeline.online.segments import PARTS, Segment, SegmentContent, SegmentInfo, write_segment
from pipeline.online.store_sums import SUMS_FILE, write_sums
from pipeline.whole_files import whole_file

# By the inodes of a segment's files, the segment without the users: stores have most in common.
Rewritten = dict[tuple[int, ...], Segment | None]


def forget_in_store(
    folder: Path,
    names: UserNames,
    dataset: DatasetConfig,
    digests: Mapping[str, str],
    done: Rewritten,
    *,
    answers_only: bool,
) -> int:
    """Takes users out of a store.

    What is left of them are 64-bit hashes of requests of which no candidate could be answered:
    nothing can be read out of these, and they go with their segment.

    Args:
        folder: of the store.
        names: the users.
        dataset: what the store was made with.
        digests: span files that were rewritten: digest before → now.
        done: what was rewritten in other stores; grows.
        answers_only: their impressions stay, as if nothing had been answered.

    Returns:
        How many of their slates and answers were in it.
    """
    # Checksums of files that are about to change would make them look damaged.
    (folder / SUMS_FILE).unlink(missing_ok=True)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    removed = 0
    infos = []
    stored = [Segment(folder, SegmentInfo(**entry)) for entry in manifest["segments"]]
    gone = _Gone.of(stored, names)
    for segment in stored:
        inodes = tuple(segment.path(part).stat().st_ino for part in PARTS)
        if inodes not in done:
            done[inodes] = _without(
                segment, folder, names, gone, dataset, answers_only=answers_only
            )
        clean = done[inodes]
        if clean is None:
            infos.append(segment.info)
            continue
        for part in PARTS:
            _link(clean.path(part), folder / clean.path(part).name)
        removed += segment.info.slates - clean.info.slates
        removed += segment.info.arrivals - clean.info.arrivals
        infos.append(clean.info)
    processed = [
        [number, name, digests.get(digest, digest)]
        for number, name, digest in manifest["processed"]
    ]
    segments = [asdict(info) for info in infos]
    if segments != manifest["segments"] or processed != manifest["processed"]:
        with whole_file(folder / MANIFEST) as partial:
            text = json.dumps({**manifest, "segments": segments, "processed": processed})
            partial.write_text(text + "\n", encoding="utf-8")
    named = {folder / MANIFEST, folder / STORE_WAITING, folder / STORE_ACTIVITY}
    named |= {Segment(folder, info).path(part) for info in infos for part in PARTS}
    # What the manifest does not name is old, or was left by a command that was killed.
    for path in set(folder.iterdir()) - named:
        path.unlink()
    waiting = read_table(folder / STORE_WAITING)
    theirs = names.among(waiting, "user_id")
    if theirs.any():
        write_table(folder / STORE_WAITING, take(waiting, ~theirs))
    activity = read_table(folder / STORE_ACTIVITY)
    if not answers_only and (of_users := _activity_of(activity, names)).any():
        write_table(folder / STORE_ACTIVITY, take(activity, ~of_users))
    write_sums(folder, None)
    return removed + int(theirs.sum())


def _link(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)  # left by a command that was killed
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class _Gone:
    """Keys of the users' requests, and of the candidates in them, in all segments of a store."""

    request: Keys
    consumed: Keys

    @classmethod
    def of(cls, segments: Sequence[Segment], names: UserNames) -> _Gone:
        requests, candidates = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for segment in segments:
            slates = read_table(segment.path("slates"))
            slates = take(slates, names.among(slates, "user_id"))
            slate = pa.array(np.repeat(np.arange(slates.num_rows), _sizes(slates)))
            ids = [one_chunk(slates, name) for name in ("user_id", "request_id")]
            requests.append(keys_of(*map(_chunked, ids)))
            items = one_chunk(slates, "item_id").flatten()
            of_candidates = [*(each.take(slate) for each in ids), items]
            candidates.append(keys_of(*map(_chunked, of_candidates)))
        return cls(np.concatenate(requests), np.concatenate(candidates))


def _activity_of(activity: pa.Table, names: UserNames) -> Bools:
    is_user = pc.equal(one_chunk(activity, "what"), "user").to_numpy(zero_copy_only=False)
    return is_user & names.among(activity, "id")


def _without(
    segment: Segment,
    folder: Path,
    names: UserNames,
    gone: _Gone,
    dataset: DatasetConfig,
    *,
    answers_only: bool,
) -> Segment | None:
    """The segment without the users, written beside it; None where nothing of them is in it."""
    slates = read_table(segment.path("slates"))
    theirs = names.among(slates, "user_id")
    keys = dict(segment.keys)
    arrival_theirs = np.isin(keys["arrival_user"], names.keys)
    of_users = _activity_of(segment.activity, names)
    known = {name: ~np.isin(keys[name], getattr(gone, name)) for name in ("request", "consumed")}
    found = theirs.any() or arrival_theirs.any()
    if not answers_only:
        found |= of_users.any() or not all(kept.all() for kept in known.values())
    if not found:
        return None
    answered = read_table(segment.path("answered"))
    keys |= _renumbered(keys, "arrival", "arrival_row", ~arrival_theirs, answered.num_rows)
    unanswered = np.zeros(answered.num_rows, np.bool_)
    unanswered[segment.keys["arrival_row"][arrival_theirs]] = True
    activity = segment.activity
    if answers_only:
        slates = _unanswered(slates, theirs)
    else:
        activity = take(activity, ~of_users)
        keys |= {name: keys[name][kept] for name, kept in known.items()}
        keys |= _candidates(segment.keys, slates, theirs, names, dataset, activity)
        slates = take(slates, ~theirs)
    info = segment.info
    content = SegmentContent(info.newest_ms, keys, slates, take(answered, ~unanswered), activity)
    edition = info.edition + 1
    return write_segment(folder, info.number, content, spans=info.spans, edition=edition)


def _renumbered(
    keys: Mapping[str, NDArray[Any]], group: str, row: str, kept: Bools, rows: int
) -> dict[str, NDArray[Any]]:
    """The keys of a group that are kept, and the rows they stand for counted anew."""
    columns = {name: keys[name][kept] for name in keys if name.startswith(group)}
    stays = np.zeros(rows + 1, np.bool_)  # ABSENT takes the last
    stays[columns[row]] = True
    at = np.cumsum(stays[:rows]) - 1
    number = np.append(at, ABSENT)[columns[row]]
    return {**columns, row: number.astype(keys[row].dtype)}


def _candidates(
    keys: Mapping[str, NDArray[Any]],
    slates: pa.Table,
    theirs: Bools,
    names: UserNames,
    dataset: DatasetConfig,
    activity: pa.Table,
) -> dict[str, NDArray[Any]]:
    """The keys of candidates without those of the users, and the slates of the rest."""
    at = keys["candidate_slate"]
    kept = (at == ABSENT) | ~np.append(theirs, False)[at]
    if (
        dataset.questionnaire.columns is not None
        and dataset.questionnaire.columns.request_id is None
    ):
        # Some candidates have no slate; these are found by the items there are.
        known = pc.unique(
            pa.concat_arrays([
                one_chunk(slates, "item_id").flatten(),
                one_chunk(activity.filter(pc.equal(activity["what"], "item")), "id"),
            ])
        )  # fmt: skip
        for name in names.array:
            user = _chunked(pa.array([name.as_py()] * len(known), pa.string()))
            kept &= ~np.isin(
                keys["candidate"], candidate_keys(user, user, _chunked(known), dataset)
            )
    columns = {name: keys[name][kept] for name in keys if name.startswith("candidate")}
    place = np.append(np.cumsum(~theirs) - 1, ABSENT)[columns["candidate_slate"]]
    return {**columns, "candidate_slate": place.astype(at.dtype)}


def _chunked(array: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([array])


def _sizes(slates: pa.Table) -> Ints:
    return np.diff(np.asarray(one_chunk(slates, "item_id").offsets))


def _unanswered(slates: pa.Table, theirs: Bools) -> pa.Table:
    offsets = np.asarray(one_chunk(slates, "answer").offsets)
    codes = one_chunk(slates, "answer").flatten().to_numpy().copy()
    codes[np.repeat(theirs, np.diff(offsets))] = NOT_ANSWERED
    place = slates.schema.get_field_index("answer")
    return slates.set_column(place, slates.schema.field(place), lists(offsets - offsets[0], codes))
