"""Compiles the pipeline for Kubeflow Pipelines (a `.yaml`) or Vertex AI (a `.json` job).

    compile_pipeline(dataset, RunSettings(), KubeflowSettings.from_yaml("kubeflow.yaml"), out)

`easq kubeflow` calls it. The pipeline is that of `pipeline.pipeline`, as on one machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.beam_options import check_beam_args, is_distributed
from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.kubeflow.compiled import finished_spec, platform_spec
from pipeline.kubeflow.settings import KubeflowSettings, require_shared_places
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline

ENTRY_COMMAND = ("python", "-m", "pipeline.kubeflow.step")
# The parameters of a run.
LOGS, SPAN = "logs", "span"
_VERTEX_SUFFIX, _KUBEFLOW_SUFFIX = ".json", ".yaml"


def kubeflow_pipeline(
    dataset: DatasetConfig, settings: RunSettings, kubeflow: KubeflowSettings
) -> Pipeline:
    """The pipeline with the logs and the span as parameters of a run."""
    from tfx.orchestration.data_types import RuntimeParameter

    from pipeline.example_gen.component import Spans
    from pipeline.pipeline import create_pipeline

    spans = None
    if kubeflow.window_spans:
        spans = Spans(RuntimeParameter(name=SPAN, ptype=str), kubeflow.window_spans)
    name = re.sub(r"[^a-z0-9]+", "-", f"{MODEL_NAME}-{dataset.name}".lower()).rstrip("-")
    return create_pipeline(
        pipeline_name=name,
        pipeline_root=kubeflow.pipeline_root,
        data_dir=RuntimeParameter(name=LOGS, ptype=str),
        spans=spans,
        serving_dir=kubeflow.serving_dir,
        dataset=dataset,
        settings=settings,
        metadata_queries=False,
    )


def compile_pipeline(
    dataset: DatasetConfig, settings: RunSettings, kubeflow: KubeflowSettings, out: Path
) -> None:
    """Writes the compiled pipeline.

    Args:
        dataset: what the tables of the logs mean.
        settings: of a run, as on one machine.
        kubeflow: of the cluster.
        out: `.yaml`: a pipeline of Kubeflow; `.json`: a job of Vertex AI.

    Raises:
        ConfigError: settings that cannot work together, or another ending of the file.
    """
    if out.suffix not in (_KUBEFLOW_SUFFIX, _VERTEX_SUFFIX):
        expected = f"a name that ends in {_KUBEFLOW_SUFFIX} (Kubeflow) or {_VERTEX_SUFFIX} (Vertex)"
        raise ConfigError("out", repr(str(out)), expected)
    from pipeline.training_session import check_model_settings

    check_beam_args(settings.beam_args)
    check_model_settings(settings.trainer)
    vertex = out.suffix == _VERTEX_SUFFIX
    distributed = is_distributed(settings.beam_args)
    require_shared_places(kubeflow, distributed=distributed, vertex=vertex)
    job = _compiled(dataset, settings, kubeflow)
    out.parent.mkdir(parents=True, exist_ok=True)
    if vertex:
        out.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    spec = job["pipelineSpec"]
    platform = platform_spec(spec, kubeflow)
    documents = [spec] if platform is None else [spec, platform]
    # Without aliases, which Kubeflow's reader of the second document does not know.
    text = json.loads(json.dumps(documents))
    out.write_text(yaml.safe_dump_all(text, sort_keys=True), encoding="utf-8")


def _compiled(
    dataset: DatasetConfig, settings: RunSettings, kubeflow: KubeflowSettings
) -> dict[str, Any]:
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
        KubeflowV2DagRunner,
        KubeflowV2DagRunnerConfig,
    )

    from pipeline.example_gen.span_window import NEWEST

    config = KubeflowV2DagRunnerConfig(
        default_image=kubeflow.image,
        default_commands=list(ENTRY_COMMAND),
        # Kubeflow reads no older form.
        use_pipeline_spec_2_1=True,
    )
    defaults = {LOGS: kubeflow.logs}
    if kubeflow.window_spans:
        defaults[SPAN] = NEWEST
    job = KubeflowV2DagRunner(config).run(
        kubeflow_pipeline(dataset, settings, kubeflow), parameter_values=defaults, write_out=False
    )
    job["pipelineSpec"] = finished_spec(job["pipelineSpec"], kubeflow, defaults)
    return job
