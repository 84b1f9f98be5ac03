"""What has been learnt and pushed so far: one small file that is replaced in one step.

A span is done once this file says so, and not before: its examples, model, gate result and even its
version folder are only files beside it until then. A process that was killed starts again from the
last file it replaced, so no span is lost and none is learnt twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.local_runner import Workdir
from pipeline.whole_files import write_in_one_step

FORMAT = 2
_CHECKSUM = "sha256"
_REMEDY = "take it from a backup, or delete it: learning then begins again at the full fit"


@dataclass(frozen=True)
class OnlineFolder:
    """The layout of what online learning adds to a run's folder.

    Attributes:
        workdir: The folder of the full fit.
    """

    workdir: Workdir

    @property
    def root(self) -> Path:
        """Everything below is in here."""
        return self.workdir.root.resolve() / "online"

    @property
    def state_file(self) -> Path:
        """`OnlineState`."""
        return self.root / "state.json"

    @property
    def series_file(self) -> Path:
        """One line of JSON a span, see `pipeline.online.series`."""
        return self.root / "series.jsonl"

    @property
    def freshness_file(self) -> Path:
        """One line of JSON for each version that was seen served."""
        return self.root / "freshness.jsonl"

    @property
    def withdrawn(self) -> Path:
        """Version folders that a rollback took out of the serving folder."""
        return self.root / "withdrawn"

    @property
    def rollbacks_file(self) -> Path:
        """One line of JSON for each rollback."""
        return self.root / "rollbacks.jsonl"

    @property
    def report_json(self) -> Path:
        """Every figure of all spans."""
        return self.root / "report.json"

    @property
    def report_html(self) -> Path:
        """The curves of all spans, for people."""
        return self.root / "report.html"

    @property
    def serving_dir(self) -> Path:
        """`<version>/` of every version that may be served."""
        return Workdir(self.workdir.root.resolve()).serving_dir

    @property
    def models_config(self) -> Path:
        """The servers' `--model_config_file`, with the labels."""
        return self.serving_dir.parent / "models.config"

    def span_root(self, sequence: int) -> Path:
        """Artifacts of one span's pipeline."""
        return self.root / "spans" / f"{sequence:06d}"


@dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: Its folder's name.
        sequence: Of the commit it came with; 0: the full fit.
        span: The last span it learnt from; "": the full fit.
        model: URI of the Model artifact it came from, which also holds its checkpoint.
    """

    number: int
    sequence: int
    span: str
    model: str


@dataclass(frozen=True)
class Commit:
    """The state of learning after one span.

    Attributes:
        sequence: How many spans have been learnt, in the order in which they were taken.
        span: The last one's name; "": the full fit.
        model: URI of the Model artifact with the checkpoint to go on from.
        store: URI of the impressions that wait for answers; None: none yet.
        examples: URI of the span's examples; None: the full fit.
        evaluation: URI of the span's prequential test; None: the full fit.
        version: The largest version number then.
    """

    sequence: int
    span: str
    model: str
    store: str | None
    examples: str | None
    evaluation: str | None
    version: int


@dataclass(frozen=True)
class OnlineState:
    """The whole state.

    Attributes:
        fit: URI of the full fit's Model artifact.
        transform_graph: URI of its transform graph.
        commits: The newest states of learning, oldest first: where to go back to if a checkpoint
            turns out to be damaged.
        versions: The versions in the serving folder, oldest first.
        stable: The version with the label `stable`: the newest one until another was pushed after
            it. A rollback leaves it where it is unless it is itself withdrawn.
        best: The blessed version that none after it was as good as, by `pipeline.online.gate`; it
            may have left the serving folder.
        largest_version: The largest number ever given to a version.
    """

    fit: str
    transform_graph: str
    commits: tuple[Commit, ...]
    versions: tuple[Version, ...]
    stable: int
    best: Version
    largest_version: int

    @property
    def newest(self) -> Commit:
        """Where learning stands."""
        return self.commits[-1]

    def earlier_spans(self, limit: int) -> list[Commit]:
        """The newest commits of different spans, the full fit excepted, oldest first."""
        by_span = {commit.sequence: commit for commit in self.commits if commit.examples}
        return list(by_span.values())[-limit:] if limit else []

    @property
    def labels(self) -> dict[str, int]:
        """`stable`, see there, and `canary`: the newest version."""
        return {"stable": self.stable, "canary": self.versions[-1].number}

    def after_span(
        self,
        commit: Commit,
        pushed: Version | None,
        *,
        best: bool,
        keep_commits: int,
        keep_versions: int,
    ) -> OnlineState:
        """The state once a span is done; `best`: what was pushed is the best version so far."""
        state = dataclasses.replace(
            self, commits=(*self.commits, commit)[-keep_commits:], largest_version=commit.version
        )
        if pushed is None:
            return state
        others = tuple(one for one in self.versions if one.number != pushed.number)
        return dataclasses.replace(
            state,
            versions=(*others, pushed)[-keep_versions:],
            stable=self.versions[-1].number,
            best=pushed if best else self.best,
        )

    def without_newest(self) -> OnlineState:
        """The state before the newest commit, whose span is to be learnt again."""
        lost, earlier = self.commits[-1], self.commits[:-1]
        versions = tuple(one for one in self.versions if one.sequence != lost.sequence)
        # Better one that is about to be made again than nothing to serve.
        return dataclasses.replace(
            self._with_versions(versions or self.versions),
            commits=earlier,
            largest_version=earlier[-1].version,
        )

    def rolled_back(self) -> OnlineState:
        """The state after the newest version was withdrawn.

        Learning goes on from the model of the version before; the spans since stay done, so what
        only the withdrawn model knew is forgotten.
        """
        versions = self.versions[:-1]
        commit = dataclasses.replace(self.newest, model=versions[-1].model)
        return dataclasses.replace(self._with_versions(versions), commits=(*self.commits, commit))

    def _with_versions(self, versions: tuple[Version, ...]) -> OnlineState:
        numbers = [version.number for version in versions]
        stable = self.stable if self.stable in numbers else numbers[-1]
        withdrawn = {version.number for version in self.versions} - set(numbers)
        best = versions[-1] if self.best.number in withdrawn else self.best
        return dataclasses.replace(self, versions=versions, stable=stable, best=best)


def read_state(path: Path) -> OnlineState | None:
    """The state, or `None` before the first.

    Raises:
        ValueError: The file is damaged or of another format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}; {_REMEDY}") from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}; {_REMEDY}")
    # Files of earlier releases have none.
    if document.pop(_CHECKSUM, None) not in (None, _checksum(document)):
        raise ValueError(f"{path} is damaged: its checksum is that of another content; {_REMEDY}")
    try:
        document["commits"] = tuple(Commit(**commit) for commit in document["commits"])
        document["versions"] = tuple(Version(**version) for version in document["versions"])
        document["best"] = Version(**document["best"])
        return OnlineState(**document)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {_REMEDY}") from error


def write_state(path: Path, state: OnlineState) -> None:
    """Replaces the state in one step."""
    document = dataclasses.asdict(state)
    sealed = {"format": FORMAT, **document, _CHECKSUM: _checksum(document)}
    write_in_one_step(path, json.dumps(sealed, indent=1))


def _checksum(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def artifact_uri(root: Path, component: str, output: str) -> str:
    """The folder of the newest output of a component under a span's root."""
    executions = (root / component / output).iterdir()
    return str(max(executions, key=lambda path: int(path.name)))
