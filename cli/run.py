"""`easq run`: logs in, pushed model and report out."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import JobError

if TYPE_CHECKING:
    from cli.progress_display import ProgressDisplay
    from pipeline.configs import RunSettings
    from pipeline.local_runner import Workdir
    from pipeline.logs.dataset_config import DatasetConfig
    from pipeline.run_artifacts import RunArtifact
    from serving.slates import Ranking

    Artifacts = dict[str, dict[str, RunArtifact]]

LOGGER = logging.getLogger("easq")
_SERVER_SECONDS = 120
_TRIALS = 12
_PRESETS = {"recommended": "EASQ", "paper": "EASQ-paper"}


@click.command(
    "run",
    epilog="""\b
Examples:
  easq run
  easq run --dataset kuairand --data-dir KUAIRAND_DIR
  easq run --dataset my_logs.yaml --data-dir my_logs --settings run.yaml
  easq run --method Imputation --tune --trials 24 --workdir imputation""",
)
@click.option(
    "--dataset",
    default="simulated",
    show_default=True,
    help="A built-in dataset (simulated, kuairand) or the path of a dataset config.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the logs. Without it, simulated logs are made in the work folder.",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("easq_run"),
    show_default=True,
    help="Folder of everything the run leaves behind.",
)
@click.option(
    "--method",
    metavar="NAME",
    help="What is trained: EASQ (the default), EMER, Blend, Imputation, …; an unknown name lists "
    "them all.",
)
@click.option(
    "--preset",
    type=click.Choice(list(_PRESETS)),
    help="recommended: --method EASQ; paper: --method EASQ-paper.",
)
@click.option(
    "--tune",
    is_flag=True,
    help="Search the method's settings on the newest part of the training period first.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    help=f"Settings that --tune tries.  [default: {_TRIALS}]",
)
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of run settings; docs/api/settings.md lists them.",
)
@click.option(
    "--beam-args",
    metavar="TEXT",
    help="Options of the Beam pipelines, such as '--runner=FlinkRunner …', or @FILE of them; see "
    "docs/beam.md. Without it they run in this process.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of training.")
@click.option("--no-cache", is_flag=True, help="Run every component again.")
def command(
    dataset: str,
    data_dir: Path | None,
    workdir: Path,
    method: str | None,
    preset: str | None,
    tune: bool,
    trials: int | None,
    settings_file: Path | None,
    beam_args: str | None,
    seed: int | None,
    no_cache: bool,
) -> None:
    """Run the pipeline once and serve one slate with the pushed model.

    Leaves report.json, report.html and serving_model/easq/<version>/ in the work folder. A model
    that is not blessed is not pushed; the report says why.
    """
    from cli.run_failures import failure
    from pipeline.local_runner import Workdir
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.logs.errors import LogError
    from pipeline.logs.readers import find_tables

    if method and preset:
        raise click.UsageError("--preset is short for a --method: give one of them")
    if trials is not None and not tune:
        raise click.UsageError("--trials says how long --tune searches: give both")
    try:
        config = load_dataset_config(dataset)
        settings = _settings(
            settings_file,
            method=_PRESETS[preset] if preset else method,
            trials=(trials or _TRIALS) if tune else None,
            seed=seed,
            no_cache=no_cache,
            beam_args=beam_args,
        )
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if data_dir is None and config.name != "simulated":
        raise click.UsageError(f"--data-dir is needed for the dataset '{dataset}'")
    place = Workdir(workdir)
    try:
        if data_dir is not None:
            # Missing files and columns are found here, before anything slow is imported.
            find_tables(config, data_dir)
        with place.locked():
            _run(place, config, data_dir, settings)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except (LogError, OSError, RuntimeError) as error:
        raise failure(place, error) from error


def _settings(
    file: Path | None,
    *,
    method: str | None,
    trials: int | None,
    seed: int | None,
    no_cache: bool,
    beam_args: str | None = None,
) -> RunSettings:
    """The settings of the file with the options of the command line laid over them."""
    from pipeline.beam_options import read_beam_args
    from pipeline.configs import RunSettings

    values = (RunSettings.from_yaml(file) if file else RunSettings()).to_dict()
    chosen = {
        "trainer": {"method": method, "seed": seed},
        "tuning": {"trials": trials},
    }
    for part, options in chosen.items():
        values[part].update({name: value for name, value in options.items() if value is not None})
    if beam_args is not None:
        values["beam_args"] = list(read_beam_args(beam_args))
    values["enable_cache"] = values["enable_cache"] and not no_cache
    return RunSettings.from_dict(values)


def _run(
    place: Workdir, config: DatasetConfig, data_dir: Path | None, settings: RunSettings
) -> None:
    from cli.framework_log import framework_log
    from cli.progress_display import ProgressDisplay
    from cli.run_summary import print_ranking, print_summary
    from pipeline.report import build_report, write_report

    with framework_log(place.framework_log) as terminal, ProgressDisplay(terminal) as display:
        with display.step("Import of TFX"):
            import pipeline.pipeline  # noqa: F401
            from pipeline.training_session import check_model_settings

            # Before any work: a wrong setting of the model costs seconds, not a run.
            check_model_settings(settings.trainer)
        if data_dir is None:
            with display.step("Simulator") as detail:
                counts = _simulated_logs(place.logs)
                detail(f"{counts['impressions']:,} impressions")
            data_dir = place.logs
        artifacts = _run_components(place, config, data_dir, settings, display)
        report = build_report(
            root=place.root,
            artifacts=artifacts,
            dataset=config,
            settings=settings,
            seconds=display.seconds,
            command=shlex.join(["easq", *sys.argv[1:]]),
        )
        write_report(report, place)
        print_summary(report, display.console)
        if report["push"]["pushed"]:
            with display.step("Serving"):
                ranking = _rank_one_slate(place, config, artifacts)
            print_ranking(ranking, display.console)
        display.console.print(f"Report: {place.report_html}")


def _simulated_logs(out: Path) -> dict[str, int]:
    """The default simulated logs; made once, as the same settings give the same bytes."""
    from cli.simulate import write_simulated_logs
    from pipeline.whole_files import write_in_one_step

    receipt = out / "counts.json"
    with contextlib.suppress(FileNotFoundError, ValueError):  # ValueError: a damaged one
        return json.loads(receipt.read_text(encoding="utf-8"))
    counts = write_simulated_logs(out)
    write_in_one_step(receipt, json.dumps(counts))
    return counts


def _run_components(
    place: Workdir,
    config: DatasetConfig,
    data_dir: Path,
    settings: RunSettings,
    display: ProgressDisplay,
) -> Artifacts:
    from cli.run_failures import cause_in
    from pipeline.local_runner import ComponentEvent, local_pipeline, run_pipeline
    from pipeline.run_artifacts import last_run_artifacts

    running = "The pipeline"

    def show(event: ComponentEvent) -> None:
        nonlocal running
        if event.finished:
            display.finish()
        else:
            running = event.component
            display.start(event.component)

    dag = local_pipeline(place, config, data_dir, settings)
    try:
        run_pipeline(dag, show)
    except Exception as error:
        LOGGER.exception("The run failed")
        raise JobError(
            f"{running} failed: {cause_in(place, error)} (all of it: {place.framework_log})"
        ) from error
    return last_run_artifacts(place.metadata, dag.pipeline_info.pipeline_name)


def _rank_one_slate(place: Workdir, config: DatasetConfig, artifacts: Artifacts) -> Ranking:
    """Serves what was pushed on loopback and asks it for a ranking, as a client would."""
    from cli.sample_slate import write_sample_slate
    from pipeline.configs import MODEL_NAME
    from pipeline.server_process import ServerProcess
    from pipeline.serving_requests import read_slates
    from serving.client import RankingClient

    examples = artifacts["LogExampleGen"]["examples"].uri
    # Slates rebuilt from time may hold two candidates; a wide one shows a ranking.
    slate = max(read_slates(f"{examples}/Split-eval", 100), key=lambda slate: slate.size)
    request = write_sample_slate(place, slate, config)
    log = place.root.resolve() / "server.log"
    with ServerProcess(place.serving_dir.resolve(), MODEL_NAME, log) as server:
        server.wait_until_available(_SERVER_SECONDS)
        with RankingClient(server.address, model=MODEL_NAME, deadline_seconds=30) as client:
            return client.rank(request)
