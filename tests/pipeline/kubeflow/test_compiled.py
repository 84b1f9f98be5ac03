"""The compiled pipeline is one that the engines take, and nothing of this machine is in it."""

import re
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.protobuf import json_format
from kfp.components import load_component_from_file
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.utils.import_utils import import_class_by_path

from pipeline.configs import RunSettings
from pipeline.kubeflow.settings import Resources
from pipeline.kubeflow_runner import compile_pipeline
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import load_dataset_config
from tests.pipeline.kubeflow.conftest import IMAGE, remote_settings
from tests.pipeline.kubeflow.engine import Engine

# Each step: its executor, and its artifacts in and out.
STEPS = {
    "LogExampleGen": ("pipeline.example_gen.executor.Executor", [], ["examples"]),
    "SlateSchemaGen": ("pipeline.slate_schema_gen.SlateSchemaGen_Executor", [], ["schema"]),
    "StatisticsGen": (
        "tfx.components.statistics_gen.executor.Executor",
        ["examples"],
        ["statistics"],
    ),
    "StoppingExampleValidator": (
        "pipeline.example_validator._StoppingExecutor",
        ["schema", "statistics"],
        ["anomalies"],
    ),
    "Transform": (
        "pipeline.repeatable_transform._Executor",
        ["examples", "schema"],
        ["transform_graph", "updated_analyzer_cache"],
    ),
    "Trainer": (
        "tfx.components.trainer.executor.GenericExecutor",
        ["examples", "schema", "transform_graph"],
        ["model", "model_run"],
    ),
    "LastPushedModel": ("pipeline.kubeflow.last_pushed.LastPushedModel_Executor", [], ["model"]),
    "Evaluator": (
        "pipeline.evaluation.evaluator._Executor",
        ["baseline_model", "examples", "model", "schema"],
        ["blessing", "evaluation"],
    ),
    "InfraCheck": ("pipeline.infra_check.InfraCheck_Executor", ["examples", "model"], ["blessing"]),
    "Pusher": (
        "pipeline.card_pusher._Executor",
        [
            "evaluation",
            "examples",
            "infra_blessing",
            "model_blessing",
            "model_run",
            "statistics",
        ],
        ["pushed_model"],
    ),
}


@pytest.fixture(params=["kubeflow", "vertex"])
def spec(request, kubeflow_documents, vertex_job) -> dict:
    return kubeflow_documents[0] if request.param == "kubeflow" else vertex_job["pipelineSpec"]


def container_of(spec, step):
    label = spec["components"][step]["executorLabel"]
    return spec["deploymentSpec"]["executors"][label]["container"]


def texts_in(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from (name, *texts_in(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value


def test_the_kfp_sdk_loads_it_with_its_parameters(compiled):
    loaded = load_component_from_file(str(compiled / "easq.yaml"))
    inputs = loaded.component_spec.inputs
    assert loaded.name == "easq-simulated"
    assert {name: (one.type, one.default, one.optional) for name, one in inputs.items()} == {
        "logs": ("String", "s3://bucket/logs", True),
        "span": ("String", "newest", True),
    }


def test_the_vertex_sdk_loads_the_job_and_lays_parameters_over_it(compiled):
    job = aiplatform.PipelineJob(
        display_name="easq",
        template_path=str(compiled / "easq.json"),
        project="project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        parameter_values={"span": "2026-11-22"},
    )
    resource = job._gca_resource  # what `submit` sends
    assert resource.runtime_config.gcs_output_directory == "gs://bucket/pipelines"
    parameters = dict(resource.runtime_config.parameter_values)
    assert parameters == {"logs": "gs://bucket/logs", "span": "2026-11-22"}


def test_it_is_a_specification_of_the_version_that_kubeflow_reads(spec):
    parsed = pipeline_spec_pb2.PipelineSpec()
    json_format.ParseDict(spec, parsed)
    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    json_format.ParseDict(spec["deploymentSpec"], deployment)
    assert parsed.schema_version == "2.1.0"
    kinds = {one.WhichOneof("spec") for one in deployment.executors.values()}
    assert kinds == {"container"}  # Kubeflow has no resolvers
    # Argo refuses other names of tasks.
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name) for name in parsed.root.dag.tasks)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_has_its_image_command_inputs_and_outputs(spec, step):
    executor, inputs, outputs = STEPS[step]
    container, component = container_of(spec, step), spec["components"][step]
    assert container["image"] == IMAGE
    assert container["command"] == ["python", "-m", "pipeline.kubeflow.step"]
    arguments = container["args"]
    assert arguments[:2] == ["--executor_class_path", executor]
    assert arguments[2:5] == [
        "--json_serialized_invocation_args",
        "{{$}}",
        "--json_serialized_inputs_spec_args",
    ]
    assert arguments[6:] == ["--runner=FnApiRunner", "--sdk_container_image=none"]
    assert "lifecycle" not in container
    assert sorted(component.get("inputDefinitions", {}).get("artifacts", {})) == inputs
    assert sorted(component["outputDefinitions"]["artifacts"]) == outputs


@pytest.mark.parametrize("step", STEPS)
def test_each_step_has_its_executor_in_the_package(spec, step):
    executor = import_class_by_path(container_of(spec, step)["args"][1])
    assert issubclass(executor, BaseExecutor)


def test_there_are_no_other_steps_and_they_end_with_the_push(spec):
    assert set(spec["root"]["dag"]["tasks"]) == set(STEPS)
    assert Engine(spec, Path("unused")).order()[-1] == "Pusher"


def test_what_every_step_reads_is_made_by_another_or_given(spec):
    tasks = spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            made = source["taskOutputArtifact"]
            maker = spec["components"][made["producerTask"]]
            given = maker["outputDefinitions"]["artifacts"][made["outputArtifactKey"]]
            wanted = spec["components"][name]["inputDefinitions"]["artifacts"][key]
            assert given["artifactType"] == wanted["artifactType"]


def test_what_depends_on_what_lies_in_a_folder_is_not_cached(spec):
    tasks = spec["root"]["dag"]["tasks"]
    cached = {name for name, task in tasks.items() if "cachingOptions" in task}
    assert set(STEPS) - cached == {"LogExampleGen", "LastPushedModel"}


def test_no_path_of_this_machine_is_in_it(spec, compiled):
    root = str(Path(__file__).resolve().parents[3])
    home = str(Path.home())
    found = [
        text
        for text in texts_in(spec)
        if root in text
        or str(compiled) in text
        or re.search(r"(?<![\w:/])/(?!mnt/easq)\w+/", text)
        # A container's home may be /, which is in every URI.
        or (len(home) > 1 and home in text)
    ]
    assert found == []


def test_volumes_and_secrets_are_of_every_step_in_the_second_document(kubeflow_documents):
    spec, platform = kubeflow_documents
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for executor in executors.values():
        (mount,) = executor["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("easq", "/mnt/easq")
        (secret,) = executor["secretAsEnv"]
        assert secret["secretName"] == "mlpipeline-minio-artifact"
        assert secret["keyToEnv"] == [{"secretKey": "accesskey", "envVar": "AWS_ACCESS_KEY_ID"}]
    assert container_of(spec, "Trainer")["env"] == [
        {"name": "AWS_ENDPOINT_URL", "value": "http://minio-service.kubeflow:9000"}
    ]


def test_the_vertex_job_has_its_root_its_parameters_and_resources(vertex_job):
    job = pipeline_spec_pb2.PipelineJob()
    json_format.ParseDict(vertex_job, job)
    assert vertex_job["runtimeConfig"] == {
        "gcsOutputDirectory": "gs://bucket/pipelines",
        "parameterValues": {"logs": "gs://bucket/logs", "span": "newest"},
    }
    resources = container_of(vertex_job["pipelineSpec"], "Trainer")["resources"]
    assert (resources["cpuLimit"], resources["memoryLimit"]) == (8, 32)
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("8", "32G")
    assert resources["accelerator"]["count"] == "1"
    assert "resources" not in container_of(vertex_job["pipelineSpec"], "Evaluator")


def test_training_that_would_be_refused_on_the_cluster_is_refused_here(tmp_path):
    settings = RunSettings.from_dict({"trainer": {"method": "SAQRec", "workers": 2}})
    with pytest.raises(ConfigError, match=r"trainer\.method: found 'SAQRec'.*1 worker"):
        compile_pipeline(
            load_dataset_config("simulated"), settings, remote_settings(), tmp_path / "easq.yaml"
        )


def test_a_step_that_is_not_there_gets_no_resources(tmp_path):
    settings = remote_settings(resources=(Resources("Traner", cpus=1),))
    with pytest.raises(ConfigError, match=r"resources\[0\].component.*did you mean 'Trainer'"):
        compile_pipeline(
            load_dataset_config("simulated"), RunSettings(), settings, tmp_path / "easq.yaml"
        )
    assert not (tmp_path / "easq.yaml").exists()
