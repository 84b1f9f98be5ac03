"""What TFX compiled, made ready for the engine: caching, parameters, resources, volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.kubeflow.settings import KubeflowSettings, Resources
from pipeline.logs.checked import ConfigError, suggest

# What these find depends on more than their parameters: on what lies in a folder by now.
NEVER_CACHED = ("LogExampleGen", "LastPushedModel")

Plain = dict[str, Any]


def finished_spec(spec: Plain, kubeflow: KubeflowSettings, defaults: Mapping[str, str]) -> Plain:
    """The pipeline specification as both engines run it.

    Args:
        spec: what TFX compiled, schema 2.1; changed in place.
        kubeflow: the settings.
        defaults: of the parameters of a run.

    Raises:
        ConfigError: resources for a component that is not there.
    """
    spec["defaultPipelineRoot"] = kubeflow.pipeline_root
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        parameter["defaultValue"] = defaults[name]
        parameter["isOptional"] = True
    for name in NEVER_CACHED:
        spec["root"]["dag"]["tasks"][name].pop("cachingOptions", None)
    values = [{"name": one.name, "value": one.value} for one in kubeflow.environment if one.value]
    executors = spec["deploymentSpec"]["executors"]
    for executor in executors.values():
        # The driver of ExampleGen serves the cache, and runs on Vertex AI only.
        executor["container"].pop("lifecycle", None)
        if values:
            executor["container"]["env"] = values
    labels = {name: component["executorLabel"] for name, component in spec["components"].items()}
    for index, resources in enumerate(kubeflow.resources):
        name = resources.component
        if name not in labels:
            known = f"one of {', '.join(sorted(labels))}{suggest(name, labels)}"
            raise ConfigError(f"resources[{index}].component", repr(name), known)
        executors[labels[name]]["container"]["resources"] = _resources(resources)
    return spec


def platform_spec(spec: Plain, kubeflow: KubeflowSettings) -> Plain | None:
    """The second document of a Kubeflow pipeline: what only Kubernetes has; None without any."""
    of_step: Plain = {}
    if kubeflow.volumes:
        of_step["pvcMount"] = [
            {
                "mountPath": volume.path,
                # Older engines read `constant`.
                "constant": volume.claim,
                "pvcNameParameter": {"runtimeValue": {"constant": volume.claim}},
            }
            for volume in kubeflow.volumes
        ]
    secrets = [one for one in kubeflow.environment if one.secret is not None]
    if secrets:
        of_step["secretAsEnv"] = [
            {
                "secretName": one.secret,
                "secretNameParameter": {"runtimeValue": {"constant": one.secret}},
                "keyToEnv": [{"secretKey": one.key, "envVar": one.name}],
            }
            for one in secrets
        ]
    if not of_step:
        return None
    executors = dict.fromkeys(spec["deploymentSpec"]["executors"], of_step)
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _resources(resources: Resources) -> Plain:
    written: Plain = {}
    # Both ways of writing them: older engines and Vertex AI read numbers, newer ones text.
    if resources.cpus is not None:
        written |= {"cpuLimit": resources.cpus, "resourceCpuLimit": f"{resources.cpus:g}"}
    if resources.memory_gb is not None:
        memory = resources.memory_gb
        written |= {"memoryLimit": memory, "resourceMemoryLimit": f"{memory:g}G"}
    if resources.gpus:
        written["accelerator"] = {
            "type": resources.gpu_type,
            "count": str(resources.gpus),
            "resourceType": resources.gpu_type,
            "resourceCount": str(resources.gpus),
        }
    return written
