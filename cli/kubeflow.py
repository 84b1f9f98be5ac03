"""`easq kubeflow`: the pipeline, compiled for Kubeflow Pipelines or Vertex AI."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click

from cli.errors import JobError


@click.command(
    "kubeflow",
    epilog="""\b
Examples:
  easq kubeflow --dataset my_logs.yaml --config kubeflow.yaml --out easq.yaml
  easq kubeflow --dataset my_logs.yaml --config vertex.yaml \\
      --image registry.example/easq:1.0 --out easq.json""",
)
@click.option(
    "--dataset",
    required=True,
    help="A built-in dataset (simulated, kuairand) or the path of a dataset config.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="YAML file of the cluster, see pipeline/kubeflow/settings.py.",
)
@click.option("--image", help="The image of every step, in place of that of the file.")
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of run settings; docs/api/settings.md lists them.",
)
@click.option(
    "--beam-args",
    metavar="TEXT",
    help="Options of the Beam pipelines, or @FILE of them, in place of those of --settings.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="NAME.yaml: a pipeline of Kubeflow; NAME.json: a job of Vertex AI.",
)
def command(
    dataset: str,
    config_file: Path,
    image: str | None,
    settings_file: Path | None,
    beam_args: str | None,
    out: Path,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI.

    The steps are those of easq run; nothing is started. docs/kubeflow.md leads from the image to a
    recurring run.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from pipeline.beam_options import read_beam_args
    from pipeline.configs import RunSettings
    from pipeline.kubeflow.settings import KubeflowSettings
    from pipeline.kubeflow_runner import compile_pipeline
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.dataset_config import load_dataset_config

    try:
        changes = {} if image is None else {"image": image}
        settings = RunSettings.from_yaml(settings_file) if settings_file else RunSettings()
        if beam_args is not None:
            settings = dataclasses.replace(settings, beam_args=read_beam_args(beam_args))
        compile_pipeline(
            load_dataset_config(dataset),
            settings,
            KubeflowSettings.from_yaml(config_file, **changes),
            out,
        )
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise JobError.of(error) from error
    click.echo(f"Written to {out}")
