"""The engine of online learning: one span of logs after the other into the served model.

    engine = OnlineEngine(Workdir(path), dataset, settings)   # after one `easq run` in that folder
    engine.resume()
    for span in find_spans(logs):
        result = engine.process(span)

A long-lived object: TFX is imported, the model built and XLA's code compiled once. What it knows is
also in the folder, so that a process that was killed goes on where the last span was done.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.example_gen.executor import LOGS
from pipeline.local_runner import ComponentEvent, Workdir, run_pipeline
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online import series
from pipeline.online.alarms import HISTORY, alarms
from pipeline.online.components import GATE_FILE, PREQUENTIAL_FILE
from pipeline.online.full_fit_log import store_of_full_fit
from pipeline.online.impression_store import ImpressionStore, StoreLimits
from pipeline.online.learner import Learner
from pipeline.online.span_pipeline import create_span_pipeline
from pipeline.online.spans import Span, SpanError, fingerprint
from pipeline.online.state import (
    Commit,
    OnlineFolder,
    OnlineState,
    Version,
    artifact_uri,
    read_state,
    write_state,
)
from pipeline.online.store_sums import require_whole_store
from pipeline.online.versions import follow_state
from pipeline.report.model_card import span_card, write_card
from pipeline.run_artifacts import RunArtifact, last_run_artifacts
from pipeline.trainer import TRAINING_RECORD


@dataclass(frozen=True)
class SpanResult:
    """What became of one span.

    Attributes:
        sequence: How many spans have been learnt with it.
        name: Of the span.
        counts: `counts.json` of its examples.
        prequential: Ranker → metric → `mean` and more, of the model that had not seen the span;
            None: not known. See `pipeline.online.prequential`.
        blessed: Whether the gate let the new model through.
        reason: Why, or why not, in one sentence.
        version: The pushed version, or None.
        seconds: Step → seconds.
        alarms: Sentences that a person should read.
    """

    sequence: int
    name: str
    counts: dict[str, Any]
    prequential: dict[str, dict[str, dict[str, float | None]]]
    blessed: bool
    reason: str
    version: int | None
    seconds: dict[str, float]
    alarms: tuple[str, ...]


class OnlineEngine:
    """Learns spans in order, in the folder of a finished full fit.

    Args:
        workdir: Where `easq run` fitted the transform graph and the first model.
        dataset: What the tables mean; that of the full fit.
        settings: Of the run.
        listener: Hears of each component of a span's pipeline.
    """

    def __init__(
        self,
        workdir: Workdir,
        dataset: DatasetConfig,
        settings: RunSettings,
        listener: Callable[[ComponentEvent], None] = lambda event: None,
    ) -> None:
        self.folder = OnlineFolder(workdir)
        self._dataset, self._settings, self._listener = dataset, settings, listener
        self._learner: Learner | None = None
        self._state: OnlineState | None = None
        self._recent: list[dict[str, Any]] = []

    @property
    def state(self) -> OnlineState:
        """What has been learnt and pushed.

        Raises:
            RuntimeError: `resume` was not called.
        """
        if self._state is None:
            raise RuntimeError("call resume() before anything else")
        return self._state

    def resume(self) -> list[str]:
        """Loads the newest good checkpoint and clears away what an interrupted span left.

        Returns:
            What a person should know: a checkpoint that was damaged, a full fit that is new.

        Raises:
            RuntimeError: There is no full fit in the folder, or no good checkpoint.
            ValueError: The state file is damaged.
        """
        state, notes = self._found_state()
        learner = self._learner
        if learner is None or learner.transform_graph != state.transform_graph:
            self.close()
            learner = Learner(
                str(self.folder.root), self._dataset, self._settings, state.transform_graph
            )
        # What an interrupted span left in memory counts for as little as what it left on disk.
        learner.forget(models=set(), examples=set(), tests=set())
        state = _with_good_checkpoint(state, learner, notes)
        state = _with_good_best(state, learner, notes)
        write_state(self.folder.state_file, state)
        follow_state(self.folder, state)
        for file in (self.folder.series_file, self.folder.freshness_file):
            series.keep_until(file, state.newest.sequence)
        self._recent = series.read(self.folder.series_file)[-HISTORY:]
        learner.register()
        self._learner, self._state = learner, state
        self._clear_away()
        return notes

    @property
    def primary_metric(self) -> str:
        """What the dataset calls satisfaction."""
        return self._dataset.questionnaire.primary_metric

    @property
    def learnt(self) -> frozenset[int]:
        """The numbers of the spans that have been learnt, as far back as is remembered."""
        store = self.state.newest.store
        if store is None:
            return frozenset()
        processed = ImpressionStore.open(store, self._dataset).processed
        return frozenset(span.number for span in processed)

    def is_new(self, span: Span) -> bool:
        """Whether the span has not been learnt yet.

        Raises:
            SpanError: It was learnt, and its files are others now.
        """
        store = self.state.newest.store
        return store is None or ImpressionStore.open(store, self._dataset).is_new(
            span, fingerprint(span)
        )

    def process(self, span: Span) -> SpanResult:
        """Learns one span: examples, prequential test, training, gate, push.

        Raises:
            SpanError: The span has been learnt already.
            LogError: Its logs cannot be read.
        """
        state, learner = self.state, self._learner
        assert learner is not None
        sequence = state.newest.sequence + 1
        root = self.folder.span_root(sequence)
        if root.exists():  # what an interrupted attempt left
            shutil.rmtree(root)
        seconds: dict[str, float] = {}
        started: dict[str, float] = {}

        def listen(event: ComponentEvent) -> None:
            now = time.monotonic()
            if event.finished:
                seconds[event.component] = round(now - started[event.component], 3)
            else:
                started[event.component] = now
            self._listener(event)

        begun = time.monotonic()
        pipeline = create_span_pipeline(
            self.folder,
            state,
            span,
            dataset=self._dataset,
            settings=self._settings,
            learner=learner.name,
        )
        run_pipeline(pipeline, listen)
        # Graphs and models are cycles of large objects, which Python else leaves lying for long.
        gc.collect()
        seconds |= learner.seconds
        seconds["all"] = round(time.monotonic() - begun, 3)
        return self._commit(span, root, seconds)

    def _commit(self, span: Span, root: Path, seconds: dict[str, float]) -> SpanResult:
        """Makes what the pipeline left behind count, in one step."""
        state, learner = self.state, self._learner
        assert learner is not None
        sequence = state.newest.sequence + 1
        model = artifact_uri(root, "Trainer", "model")
        examples = artifact_uri(root, "SpanExampleGen", "examples")
        evaluation = artifact_uri(root, "PrequentialTest", "evaluation")
        counts = _read_json(examples, "counts.json")
        tested = _read_json(evaluation, PREQUENTIAL_FILE)
        gate = _read_json(artifact_uri(root, "OnlineGate", "evaluation"), GATE_FILE)
        pushed = None
        if gate["blessed"] and not gate["served_check_failure"]:
            pushed = Version(state.largest_version + 1, sequence, span.name, model)
        commit = Commit(
            sequence=sequence,
            span=span.name,
            model=state.newest.model if gate["diverged"] else model,
            store=artifact_uri(root, "SpanExampleGen", "store"),
            examples=examples,
            evaluation=evaluation,
            version=state.largest_version if pushed is None else pushed.number,
        )
        reason = gate["sentence"]
        if gate["served_check_failure"]:
            reason = f"Not pushed: {gate['served_check_failure']}."
        record = {
            "sequence": sequence,
            "span": span.name,
            "counts": counts,
            **tested,
            "gate": gate,
            "reason": reason,
            "version": None if pushed is None else pushed.number,
            "base": state.newest.model,
            "seconds": seconds,
        }
        record["alarms"] = alarms(record, self._recent)
        if pushed is not None:
            # Before the state: what is known to be pushed has its card.
            training = _read_json(artifact_uri(root, "Trainer", "model_run"), TRAINING_RECORD)
            before = state.largest_version
            card = span_card(self._dataset, training=training, record=record, before=before)
            folder = self.folder.serving_dir / str(pushed.number)
            write_card(card, str(folder), pushed.number)
        series.append(self.folder.series_file, record)
        new_state = state.after_span(
            commit,
            pushed,
            best=gate["best"],
            keep_commits=self._settings.online.keep_spans,
            keep_versions=self._settings.online.keep_versions,
        )
        write_state(self.folder.state_file, new_state)
        self._state = new_state
        self._recent = [*self._recent, record][-HISTORY:]
        follow_state(self.folder, new_state)
        if pushed is not None:
            learner.keep_weights(model)
        self._clear_away()
        return SpanResult(
            sequence=sequence,
            name=span.name,
            counts=counts,
            prequential=tested["rankers"],
            blessed=gate["blessed"],
            reason=reason,
            version=record["version"],
            seconds=seconds,
            alarms=tuple(record["alarms"]),
        )

    def close(self) -> None:
        """Lets go of the model."""
        if self._learner is not None:
            self._learner.close()

    def _found_state(self) -> tuple[OnlineState, list[str]]:
        """The state on disk, or that of the full fit where this is newer."""
        state = read_state(self.folder.state_file)
        metadata = self.folder.workdir.metadata
        name = f"{MODEL_NAME}-{self._dataset.name}"
        run = last_run_artifacts(metadata, name) if metadata.exists() else {}
        if not {"Transform", "Trainer", "Pusher"} <= run.keys():
            if state is not None:
                return state, []
            raise RuntimeError(
                f"{self.folder.workdir.root}: no finished full fit of the dataset "
                f"'{self._dataset.name}'; make one with: easq run --workdir "
                f"{self.folder.workdir.root} --dataset … --data-dir …"
            )
        fit, pushed = run["Trainer"]["model"].uri, run["Pusher"]["pushed_model"].properties
        if state is not None and state.fit == fit:
            return state, []
        if pushed.get("pushed") != 1:
            if state is not None:
                return state, ["The newest full fit was not pushed: learning goes on without it."]
            raise RuntimeError(
                f"{self.folder.workdir.root}: the full fit was not pushed, and there is nothing to "
                f"compare with or to serve; {self.folder.workdir.report_html} says why"
            )
        before = None if state is None else state.newest
        if before is None:
            store, note = self._store_of_full_fit(run)
        else:
            store, note = before.store, f"Goes on from the full fit in {fit}."
        number = int(pushed["pushed_version"])
        commit = Commit(
            sequence=0 if before is None else before.sequence,
            span="" if before is None else before.span,
            model=fit,
            store=store,
            examples=None,
            evaluation=None,
            version=number,
        )
        version = Version(number, commit.sequence, "", fit)
        return OnlineState(
            fit=fit,
            transform_graph=run["Transform"]["transform_graph"].uri,
            commits=(commit,),
            versions=(version,),
            stable=number,
            best=version,
            largest_version=number,
        ), [note]

    def _store_of_full_fit(self, run: dict[str, dict[str, RunArtifact]]) -> tuple[str | None, str]:
        examples = run.get("LogExampleGen", {}).get("examples")
        online = self._settings.online
        store, note = store_of_full_fit(
            None if examples is None else str(examples.properties.get(LOGS, "")) or None,
            self._dataset,
            self.folder.span_root(0),
            StoreLimits(delay_hours=online.landing_delay_hours, max_bytes=online.store_bytes),
            holdout=online.holdout,
        )
        return None if store is None else str(store), note

    def _clear_away(self) -> None:
        """Deletes what no state refers to any more."""
        state, learner = self.state, self._learner
        assert learner is not None
        commits = state.commits
        kept = {
            uri
            for commit in commits
            for uri in (commit.model, commit.store, commit.examples, commit.evaluation)
            if uri is not None
        } | {version.model for version in (*state.versions, state.best)}
        spans = self.folder.root / "spans"
        for root in spans.iterdir() if spans.exists() else ():
            if not any(Path(uri).is_relative_to(root) for uri in kept):
                shutil.rmtree(root)
        window = state.earlier_spans(self._settings.online.gate.window_spans)
        learner.forget(
            models={commits[-1].model, state.best.model, state.versions[-1].model},
            examples={commit.examples for commit in window if commit.examples},
            tests={commit.evaluation for commit in window if commit.evaluation},
        )


def _with_good_checkpoint(state: OnlineState, learner: Learner, notes: list[str]) -> OnlineState:
    """Goes back to the newest commit whose checkpoint can be loaded."""
    while True:
        newest = state.newest
        try:
            learner.hold(newest.model)
            if newest.store is not None:
                require_whole_store(Path(newest.store))
        except (OSError, ValueError, SpanError) as error:
            if len(state.commits) == 1:
                raise RuntimeError(
                    f"no good checkpoint is left ({error}); make a new full fit with easq run"
                ) from error
            lost, before = (
                f"span {commit.span}" if commit.span else "the full fit"
                for commit in (newest, state.commits[-2])
            )
            notes.append(
                f"The checkpoint of {lost} cannot be used ({error}). Goes back to {before} and "
                "learns from there again."
            )
            state = state.without_newest()
        else:
            return state


def _with_good_best(state: OnlineState, learner: Learner, notes: list[str]) -> OnlineState:
    """Compares with the last blessed model alone where the best one cannot be loaded any more."""
    try:
        learner.read_weights(state.best.model)
    except (OSError, ValueError) as error:
        notes.append(
            f"The checkpoint of version {state.best.number}, the best so far, cannot be used "
            f"({error}). What is learnt is compared with the last blessed model alone."
        )
        return dataclasses.replace(state, best=state.versions[-1])
    return state


def _read_json(folder: str, name: str) -> dict[str, Any]:
    return json.loads(Path(folder, name).read_text(encoding="utf-8"))
