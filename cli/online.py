"""`easq online`: span after span of logs into the served model."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import JobError, first_cause

if TYPE_CHECKING:
    from cli.progress_display import ProgressDisplay
    from pipeline.configs import RunSettings
    from pipeline.local_runner import Workdir
    from pipeline.logs.dataset_config import DatasetConfig
    from pipeline.online.engine import OnlineEngine, SpanResult
    from pipeline.online.spans import Span
    from pipeline.server_process import ServerProcess

LOGGER = logging.getLogger("easq")
_SERVER_SECONDS = 120
_FOLDER = click.Path(path_type=Path, file_okay=False)


def _own_or_given_before(context: click.Context, _: click.Parameter, own: Path | None) -> Workdir:
    """The work folder of a subcommand: its own option, or the one before its name."""
    from pipeline.local_runner import Workdir

    return context.obj if own is None else Workdir(own)


_in_workdir = click.option(
    "--workdir",
    "place",
    type=_FOLDER,
    callback=_own_or_given_before,
    help="Work folder of easq online.  [default: easq_run]",
)


@click.group(
    "online",
    invoke_without_command=True,
    epilog="""\b
Examples:
  easq online --watch logs --port 8500
  easq online --watch logs --spans 2026-11-01:2026-11-14
  easq online status
  easq online rollback""",
)
@click.option(
    "--workdir",
    type=_FOLDER,
    default=Path("easq_run"),
    show_default=True,
    help="Folder of a finished easq run: its transform graph, settings and model are gone on with.",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder in which span folders land; each is learnt once it is complete.",
)
@click.option(
    "--spans",
    "between",
    metavar="A:B",
    help="Learn these spans of the folder, by name or number, both included, and end.",
)
@click.option(
    "--settle-seconds",
    type=click.FloatRange(min=0),
    help="Also take a span without _SUCCESS once nothing in it changed for so long.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How often to look for new spans.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Serve the models on this port of the loopback meanwhile, and measure freshness.",
)
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of run settings; without it those of the full run hold.",
)
@click.pass_context
def command(
    ctx: click.Context,
    workdir: Path,
    watch: Path | None,
    between: str | None,
    settle_seconds: float | None,
    poll_seconds: float,
    port: int | None,
    settings_file: Path | None,
) -> None:
    """Learn spans of logs as they land and push each model that passes the gate.

    Needs one finished easq run in the work folder. Each span is first used as a test, then learnt;
    what came of it is in online/report.html. Ends at Ctrl-C, or after the range of --spans, and
    goes on where it stopped the next time, however it was stopped.
    """
    from pipeline.local_runner import Workdir

    ctx.obj = place = Workdir(workdir)
    if ctx.invoked_subcommand is not None:
        return
    if watch is None:
        raise click.UsageError("--watch is needed: the folder in which the spans land")
    from cli.run_failures import failure
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.errors import LogError
    from pipeline.online.spans import SpanError

    dataset, settings = _of_full_run(place, settings_file)

    def spans(engine: OnlineEngine) -> Iterator[Span]:
        return _spans(engine, watch, between, settle_seconds, poll_seconds)

    try:
        with place.locked():
            _learn(place, dataset, settings, spans, port, replay=between is not None)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except (LogError, SpanError, OSError, RuntimeError, ValueError) as error:
        raise failure(place, error) from error


@command.command("status", epilog="Example: easq online status --workdir easq_run")
@_in_workdir
def status(place: Workdir) -> None:
    """Say what has been learnt, what is served, and what each version was learnt from."""
    from pipeline.online import series
    from pipeline.online.state import OnlineFolder

    folder = OnlineFolder(place)
    state = _existing_state(folder)
    newest = state.newest
    click.echo(f"learnt     {newest.sequence} spans, the last one {newest.span or '(none yet)'}")
    labels = {number: name for name, number in state.labels.items()}
    for version in state.versions:
        until = f"learnt until {version.span}" if version.span else "the full fit"
        click.echo(f"version    {version.number}  {labels.get(version.number, ''):<7} {until}")
    for record in series.read(folder.series_file)[-1:]:
        click.echo(f"last span  {record['reason']}")
        for alarm in record["alarms"]:
            click.echo(f"alarm      {alarm}")
    click.echo(f"report     {folder.report_html}")


@command.command("trace", epilog="Example: easq online trace 1795340255")
@click.argument("version", type=int)
@_in_workdir
def trace(place: Workdir, version: int) -> None:
    """List the spans that a served VERSION was learnt from, by its lineage in ML Metadata."""
    from pipeline.online.lineage import learnt_spans
    from pipeline.online.state import OnlineFolder

    state = _existing_state(OnlineFolder(place))
    models = {one.number: one.model for one in state.versions}
    if version not in models:
        known = ", ".join(map(str, models))
        raise JobError(f"version {version} is not in the serving folder; there are {known}")
    for span in learnt_spans(place.metadata, models[version]):
        click.echo(span)


@command.command("rollback", epilog="Example: easq online rollback --workdir easq_run")
@_in_workdir
def rollback(place: Workdir) -> None:
    """Withdraw the newest version: the one before it is served and learnt from.

    Servers follow within their poll interval, by label and without. Not while easq online runs in
    the same work folder: stop it first.
    """
    from pipeline.online.rollback import rolled_back
    from pipeline.online.state import OnlineFolder

    try:
        with place.locked():
            folder = OnlineFolder(place)
            state = _existing_state(folder)
            withdrawn = state.versions[-1].number if state.versions else None
            state = rolled_back(folder, state)
    except (OSError, RuntimeError) as error:
        raise JobError.of(error) from error
    click.echo(
        f"Withdrew version {withdrawn}; version {state.versions[-1].number} is served again."
    )


def _existing_state(folder: Any) -> Any:
    from pipeline.online.state import read_state

    try:
        state = read_state(folder.state_file)
    except ValueError as error:
        raise JobError.of(error) from error
    if state is None:
        raise JobError(f"{folder.root}: nothing was learnt online here; start with easq online")
    return state


def _of_full_run(place: Workdir, settings_file: Path | None) -> tuple[DatasetConfig, RunSettings]:
    """The dataset of the full run, and its settings unless others are given."""
    from pipeline.configs import RunSettings
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.dataset_config import DatasetConfig

    if not place.report_json.exists():
        raise JobError(
            f"{place.root} holds no finished run, which fits the transform graph and the first "
            f"model; make one with: easq run --workdir {place.root} --dataset … --data-dir …"
        )
    try:
        run = json.loads(place.report_json.read_text(encoding="utf-8"))["run"]
    except (ValueError, KeyError) as error:
        raise JobError(
            f"{place.report_json} is damaged ({error}); the full run of this folder, started "
            "again, writes it anew from what is there"
        ) from error
    try:
        dataset = DatasetConfig.from_dict(run["dataset_config"])
        if settings_file is not None:
            return dataset, RunSettings.from_yaml(settings_file)
        return dataset, RunSettings.from_dict(run["settings"])
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _learn(
    place: Workdir,
    dataset: DatasetConfig,
    settings: RunSettings,
    spans: Any,
    port: int | None,
    *,
    replay: bool,
) -> None:
    from cli.framework_log import framework_log
    from cli.progress_display import ProgressDisplay

    with framework_log(place.framework_log) as terminal, ProgressDisplay(terminal) as display:
        with display.step("Import of TFX"):
            from pipeline.online.engine import OnlineEngine
        engine = OnlineEngine(place, dataset, settings)
        with display.step("Last checkpoint"):
            notes = engine.resume()
        for note in notes:
            display.console.print(note)
        try:
            with _server(engine, place, port, display) as server:
                for span in spans(engine):
                    _learn_span(engine, span, server, display, place, replay=replay)
        except KeyboardInterrupt:
            display.console.print("Stopped; easq online goes on from here.")
        finally:
            _write_report(engine)
        display.console.print(f"Report: {engine.folder.report_html}")


@contextlib.contextmanager
def _server(
    engine: OnlineEngine, place: Workdir, port: int | None, display: ProgressDisplay
) -> Iterator[ServerProcess | None]:
    if port is None:
        yield None
        return
    from pipeline.configs import MODEL_NAME
    from pipeline.server_process import ServerProcess

    folder = engine.folder
    with ServerProcess(
        folder.serving_dir,
        MODEL_NAME,
        folder.root / "server.log",
        port=port,
        model_config_file=folder.models_config,
    ) as server:
        if engine.state.versions:
            with display.step("Server"):
                server.wait_until_available(_SERVER_SECONDS)
        display.console.print(f"Serves the newest version on {server.address}")
        yield server


def _spans(
    engine: OnlineEngine,
    folder: Path,
    between: str | None,
    settle_seconds: float | None,
    poll_seconds: float,
) -> Iterator[Span]:
    """Complete spans that have not been learnt, as they land; ends after a given range."""
    from pipeline.online.freshness import landed_at
    from pipeline.online.spans import find_spans

    learnt, learnt_until = engine.learnt, engine.folder.state_file.stat().st_mtime
    looked_at: dict[int, float] = {}
    while True:
        for span in find_spans(folder, settle_seconds=settle_seconds, between=between):
            landed = landed_at(span)
            if span.number in learnt and landed < learnt_until:
                continue
            if looked_at.get(span.number) != landed:
                looked_at[span.number] = landed
                if engine.is_new(span):
                    yield span
                    break  # a span before the next one may have landed meanwhile
        else:
            if between is not None:
                return
            time.sleep(poll_seconds)


def _learn_span(
    engine: OnlineEngine,
    span: Span,
    server: ServerProcess | None,
    display: ProgressDisplay,
    place: Workdir,
    *,
    replay: bool,
) -> None:
    from pipeline.online.freshness import landed_at, measure_freshness

    # A span of a replay landed long ago: it arrives when it is taken.
    arrived = time.time() if replay else landed_at(span)
    with display.step(span.name) as detail:
        try:
            result = engine.process(span)
        except Exception as error:
            LOGGER.exception("The span failed")
            raise JobError(
                f"span {span.name} failed: {first_cause(error)} (all of it: {place.framework_log})"
            ) from error
        detail(_in_a_line(result, engine.primary_metric))
        if server is not None and result.version is not None:
            seconds = measure_freshness(
                engine.folder, result.sequence, result.version, server, arrived=arrived
            )
            detail("not served in time" if seconds is None else f"served after {seconds:.1f} s")
    for alarm in result.alarms:
        display.console.print(f"  alarm: {alarm}")


def _in_a_line(result: SpanResult, primary: str) -> str:
    from pipeline.report.text import METRIC_NAMES, number

    model = result.prequential["model"]
    tested = ", ".join(
        f"{METRIC_NAMES[metric]} {number(model[metric]['mean'])}"
        for metric in (primary, "behaviour_ndcg@10")
    )
    return f"{tested}: {f'version {result.version}' if result.version else result.reason}"


def _write_report(engine: OnlineEngine) -> None:
    from pipeline.online.report import build_online_report, render_online_html

    report = build_online_report(engine.folder, engine.state)
    text = json.dumps(report, indent=1, allow_nan=False)
    engine.folder.report_json.write_text(text, encoding="utf-8")
    engine.folder.report_html.write_text(render_online_html(report), encoding="utf-8")
