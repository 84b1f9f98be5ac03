"""Takes users out of logs, and out of the work folder of a run with all that was learnt online."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pyarrow as pa

from pipeline.example_gen.example_files import UNFINISHED_FOLDER
from pipeline.forget import run_files
from pipeline.forget.log_files import LogFile, remove_rows, rows_of, user_files
from pipeline.forget.names import UserNames
from pipeline.forget.store_files import Rewritten, forget_in_store
from pipeline.local_runner import Workdir
from pipeline.logs.checked import ConfigError, require
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.impression_store import MANIFEST
from pipeline.online.keys import held_out
from pipeline.online.spans import Span, SpanError, fingerprint
from pipeline.whole_files import whole_file

# In the work folder until all is done: what a command that was killed had found out. No ids.
JOURNAL = "forgetting.json"
_WARMUPS = "tf_serving_warmup_requests"
# Shorter ids are found by chance in any file.
_TELLING_BYTES = 6


@dataclass(frozen=True)
class SeenVersion:
    """A pushed version that learnt from the users.

    Attributes:
        number: of the version.
        there: whether it is still in the serving folder.
        learnt: which of its examples held them: names of spans, or the full fit.
    """

    number: int
    there: bool
    learnt: tuple[str, ...]


@dataclass
class Forgotten:
    """What was done.

    Attributes:
        removed: by kind, how many rows, records, … were taken out.
        versions: the pushed versions that had learnt from them.
        left: files in which a telling id still stands, whatever it means there.
    """

    removed: Counter[str] = field(default_factory=Counter)
    versions: list[SeenVersion] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def forget_users(
    ids: Iterable[str],
    dataset: DatasetConfig,
    logs: Sequence[Path],
    workdir: Workdir | None,
    *,
    answers_only: bool = False,
) -> Forgotten:
    """Takes users out of everything. A call that was killed is made again.

    Args:
        ids: as the logs have them.
        dataset: what the tables mean, and the key of the user ids if they are hashed.
        logs: folders of logs or of spans.
        workdir: of a run; nobody else may use it meanwhile. None: the logs alone.
        answers_only: only what they answered; what they were shown and did stays.

    Raises:
        ConfigError: no id, or answers of behaviours are to be forgotten without the behaviours.
        LogError: a table cannot be read.
        RuntimeError: another run uses the work folder.
    """
    names = UserNames.of(ids, dataset)
    if not names.in_logs or "" in names.in_logs:
        raise ConfigError("USER", "no id", "a user's id")
    require(
        not answers_only or dataset.questionnaire.from_behaviours is None,
        "answers only",
        "answers read from behaviours (questionnaire.from_behaviours)",
        "all rows of the user: the answers are columns of the impressions",
    )
    if workdir is None:
        return _forget(names, dataset, logs, None, answers_only=answers_only)
    if not workdir.root.is_dir():
        raise RuntimeError(f"{workdir.root}: no such folder; give the work folder of a run")
    with workdir.locked():
        own = [workdir.logs] if workdir.logs.is_dir() else []
        return _forget(names, dataset, [*logs, *own], workdir, answers_only=answers_only)


def _forget(
    names: UserNames,
    dataset: DatasetConfig,
    logs: Sequence[Path],
    workdir: Workdir | None,
    *,
    answers_only: bool,
) -> Forgotten:
    result = Forgotten()
    theirs: list[tuple[LogFile, int]] = []
    for folder in logs:
        for file in user_files(dataset, folder, answers_only=answers_only):
            if len(rows := rows_of(file, names.in_logs)):
                theirs.append((file, len(rows)))
    journal = None
    if workdir is not None:
        journal = _Journal.of(workdir, names, [file for file, _ in theirs], answers_only)
    for file, _ in theirs:
        # Read again: two tables may share a file.
        rows = rows_of(file, names.in_logs)
        if len(rows):
            remove_rows(file.path, rows)
            result.removed[f"rows of {file.table}"] += len(rows)
    if workdir is not None and journal is not None:
        _forget_in_run(workdir, names, dataset, journal, result, answers_only=answers_only)
        result.versions = journal.versions
        journal.done()
    places = [*logs, *([] if workdir is None else [workdir.root])]
    result.left = [] if answers_only else _files_with(names, places)
    return result


def _forget_in_run(
    workdir: Workdir,
    names: UserNames,
    dataset: DatasetConfig,
    journal: _Journal,
    result: Forgotten,
    *,
    answers_only: bool,
) -> None:
    removed = result.removed
    root = workdir.root
    # A run that was killed leaves these to nobody; what is in them is anybody's, and compressed.
    for unfinished in sorted(root.rglob(f"examples/*/{UNFINISHED_FOLDER}")):
        shutil.rmtree(unfinished.parent)
        removed["folders of examples that a killed run left"] += 1
    for folder in sorted({path.parent for path in root.rglob("counts.json")}):
        records, letters = run_files.forget_artifact(
            folder, names, dataset, answers_only=answers_only
        )
        removed["examples"] += records
        removed["dead letters"] += letters
    for path in sorted(root.rglob("checkpoint/answers.npz")):
        if journal.answered:
            removed["remembered answers"] += run_files.forget_memory(path, names, dataset)
    for path in sorted(root.rglob("PrequentialTest/**/answers.npz")):
        removed["tested slates"] += run_files.forget_tested(path, names)
    done: Rewritten = {}
    for manifest in sorted(root.rglob(MANIFEST)):
        removed["stored slates and answers"] += forget_in_store(
            manifest.parent, names, dataset, journal.new_digests(), done, answers_only=answers_only
        )
    if answers_only:
        return
    for path in sorted(root.rglob("FeatureStats.pb")):
        removed["statistics"] += run_files.forget_statistics(path, names)
    for path in sorted(root.rglob("user_id.names.tsv")):
        removed["names of buckets"] += run_files.forget_bucket_names(path, names)
    for path in sorted(root.rglob(_WARMUPS)):
        removed["warm-up requests"] += run_files.forget_warmups(path, names)
    sample = root / "slate.json"
    if sample.exists():
        removed["sample slate"] += run_files.forget_sample(sample, names)


class _Journal:
    """What must be found out before anything is rewritten, kept until all is done."""

    def __init__(self, path: Path, content: dict[str, object]) -> None:
        self._path, self._content = path, content

    @classmethod
    def of(
        cls, workdir: Workdir, names: UserNames, files: list[LogFile], answers_only: bool
    ) -> _Journal:
        """Finds out, and adds to what an earlier call had found out."""
        path = workdir.root / JOURNAL
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        spans = _spans_of(files)
        digests = {str(span): fingerprint(Span.at(span)).digest for span in spans}
        versions = {
            version.number: version
            for version in (
                *_versions(workdir, names, spans, answers_only),
                *(
                    SeenVersion(number, there, tuple(learnt))
                    for number, there, learnt in earlier.get("versions", [])
                ),
            )
        }
        answered = earlier.get("answered", False) or _anybody_answered(workdir, names, files)
        content: dict[str, object] = {
            "digests": digests | earlier.get("digests", {}),
            "versions": [
                [one.number, one.there, one.learnt] for _, one in sorted(versions.items())
            ],
            "answered": answered,
        }
        with whole_file(path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
        return cls(path, content)

    @property
    def versions(self) -> list[SeenVersion]:
        found = cast(list[tuple[int, bool, list[str]]], self._content["versions"])
        return [SeenVersion(number, there, tuple(learnt)) for number, there, learnt in found]

    @property
    def answered(self) -> bool:
        """Whether the users ever answered, as far as anything shows."""
        return bool(self._content["answered"])

    def new_digests(self) -> dict[str, str]:
        """By the digest of each span before, that of its files now."""
        before = cast(dict[str, str], self._content["digests"])
        return {
            digest: fingerprint(Span.at(span)).digest
            for span, digest in before.items()
            if Path(span).is_dir()
        }

    def done(self) -> None:
        self._path.unlink()


def _spans_of(files: list[LogFile]) -> list[Path]:
    """The span folders in which files lie."""
    found = set()
    for file in files:
        for folder in file.path.resolve().parents:
            try:
                Span.at(folder)
            except SpanError:
                continue
            found.add(folder)
            break
    return sorted(found)


def _versions(
    workdir: Workdir, names: UserNames, spans: list[Path], answers_only: bool
) -> list[SeenVersion]:
    if not workdir.metadata.exists():
        return []
    from pipeline.forget.seen_by import LearntExamples, pushed_versions, versions_that_learnt

    splits = ("answered",) if answers_only else ("train", "answered")

    def theirs(examples: LearntExamples) -> bool:
        folder = Path(examples.uri)
        if folder.is_dir():
            return any(run_files.has_examples(folder / f"Split-{split}", names) for split in splits)
        learnt_from = names.array.filter(
            pa.array(~held_out(pa.chunked_array([names.array]), examples.holdout))
        )
        return len(learnt_from) > 0 and Path(examples.span) in spans

    return [
        SeenVersion(version.number, version.folder.is_dir(), tuple(learnt))
        for version, learnt in versions_that_learnt(pushed_versions(workdir.metadata), theirs)
    ]


def _anybody_answered(workdir: Workdir, names: UserNames, files: list[LogFile]) -> bool:
    if any(file.table == "questionnaires" for file in files):
        return True
    splits = workdir.root.rglob("Split-answered")
    return any(run_files.has_examples(split, names) for split in splits)


def _files_with(names: UserNames, places: Sequence[Path]) -> list[Path]:
    """Files in which the bytes of an id stand, of ids that do not do so by chance."""
    telling = [name for name in names.encoded if len(name) >= _TELLING_BYTES]
    found = []
    for place in dict.fromkeys(places):
        for path in sorted(place.rglob("*")) if telling else ():
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                if any(name in content for name in telling):
                    found.append(path)
    return found
