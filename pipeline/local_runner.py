"""Runs the pipeline on this machine: LocalDagRunner, SQLite metadata, in-process Beam.

`easq run` calls `run_pipeline`. The file is also a pipeline file for TFX's own command line:

    export EASQ_DATASET=simulated EASQ_DATA_DIR=logs EASQ_WORKDIR=easq_run
    tfx pipeline create --engine=local --pipeline_path=pipeline/local_runner.py
    tfx run create --engine=local --pipeline_name=easq-simulated
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Whoever runs this file puts its folder first on the path, where pipeline.py would hide the
    # package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.beam_options import check_beam_args, require_local_workers, require_reachable
from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from pipeline.logs.readers import find_tables
from pipeline.sound_metadata import sound_metadata

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline


@dataclass(frozen=True)
class Workdir:
    """The layout of a run's folder.

    Attributes:
        root: The folder; made if it is not there.
    """

    root: Path

    @property
    def logs(self) -> Path:
        """Simulated logs, where the run made its own."""
        return self.root / "logs"

    @property
    def pipeline_root(self) -> Path:
        """Artifacts, a folder a component."""
        return self.root / "pipeline"

    @property
    def metadata(self) -> Path:
        """ML Metadata: every artifact and its lineage."""
        return self.root / "metadata.sqlite"

    @property
    def serving_dir(self) -> Path:
        """`<version>/` of every pushed model; a model server's `--model_base_path`."""
        return self.root / "serving_model" / MODEL_NAME

    @property
    def framework_log(self) -> Path:
        """What TFX, Beam and TensorFlow log."""
        return self.root / "framework.log"

    @property
    def report_json(self) -> Path:
        """Every figure of the last run."""
        return self.root / "report.json"

    @property
    def report_html(self) -> Path:
        """The same for people."""
        return self.root / "report.html"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, keeps a second run out of it and looks whether it is sound.

        Raises:
            RuntimeError: Another run holds the folder, or its metadata database is damaged.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"{self.root}: another run is using this folder; wait for it or choose another"
                ) from None
            with sound_metadata(self.metadata):
                yield


@dataclass(frozen=True)
class ComponentEvent:
    """A component started or finished."""

    component: str
    finished: bool


class _ComponentClock(logging.Handler):
    """Turns the two lines that LocalDagRunner logs around each component into events."""

    def __init__(self, listener: Callable[[ComponentEvent], None]) -> None:
        super().__init__(logging.INFO)
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg in ("Component %s is running.", "Component %s is finished."):
            (component,) = record.args
            self._listener(ComponentEvent(component, "finished" in record.msg))


def local_pipeline(
    workdir: Workdir, dataset: DatasetConfig, data_dir: Path, settings: RunSettings
) -> Pipeline:
    """The pipeline with every path inside `workdir`.

    Raises:
        ConfigError: Beam options that are wrong, or whose workers cannot be reached or see it.
    """
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    from pipeline.pipeline import create_pipeline

    root = workdir.root.resolve()
    check_beam_args(settings.beam_args)
    require_local_workers(settings.beam_args, root)
    require_reachable(settings.beam_args)
    workdir = Workdir(root)
    root.mkdir(parents=True, exist_ok=True)
    return create_pipeline(
        pipeline_name=f"{MODEL_NAME}-{dataset.name}",
        pipeline_root=str(workdir.pipeline_root),
        data_dir=str(data_dir.resolve()),
        serving_dir=str(workdir.serving_dir),
        dataset=dataset,
        settings=settings,
        metadata_connection_config=sqlite_metadata_connection_config(str(workdir.metadata)),
    )


def run_pipeline(pipeline: Pipeline, listener: Callable[[ComponentEvent], None]) -> None:
    """Runs the pipeline to its end; the listener hears of each component."""
    from absl import logging as absl_logging
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from pipeline.beam_workers import fail_with_dead_workers

    fail_with_dead_workers()
    clock = _ComponentClock(listener)
    # By absl's own call: TensorFlow resets the level to what absl believes it to be.
    absl_logging.set_verbosity(absl_logging.INFO)
    framework = absl_logging.get_absl_logger()
    framework.addHandler(clock)
    try:
        LocalDagRunner().run(pipeline)
    finally:
        framework.removeHandler(clock)


def main() -> None:
    """Runs the pipeline of the environment variables; what `tfx run create` executes."""
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    data_dir = os.environ.get("EASQ_DATA_DIR")
    if data_dir is None:
        sys.exit(
            "EASQ_DATA_DIR is not set; expected the folder of the logs (easq simulate makes one)"
        )
    settings_file = os.environ.get("EASQ_SETTINGS")
    settings = RunSettings.from_yaml(settings_file) if settings_file else RunSettings()
    dataset = load_dataset_config(os.environ.get("EASQ_DATASET", "simulated"))
    find_tables(dataset, data_dir)
    workdir = Workdir(Path(os.environ.get("EASQ_WORKDIR", "easq_run")))
    with workdir.locked():
        LocalDagRunner().run(local_pipeline(workdir, dataset, Path(data_dir), settings))


if __name__ == "__main__":
    main()
