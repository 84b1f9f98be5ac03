"""Where the pipeline runs on Kubernetes or Vertex AI; checked when it is made.

kubeflow = KubeflowSettings.from_yaml("kubeflow.yaml")
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.logs.checked import ConfigError, build, read_yaml, require
from pipeline.logs.places import is_remote

_SCHEME = re.compile(r"(?P<scheme>[a-z0-9]+)://[^/]")
# A registry may have a port; what follows the last slash has to have a tag or a digest.
_PINNED_IMAGE = re.compile(r"\S+(?::[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")
# What the engine copies into the container and out of it, or TensorFlow and Beam read themselves.
ARTIFACT_SCHEMES = ("gs", "s3", "minio")
LOG_SCHEMES = ("gs", "s3", "hdfs")


@dataclass(frozen=True)
class Volume:
    """A folder that every step sees; Kubeflow only.

    Attributes:
        claim: name of the PersistentVolumeClaim; ReadWriteMany, where steps run on several nodes.
        path: where the containers see it.
    """

    claim: str
    path: str

    def __post_init__(self) -> None:
        found, expected = self.path, "an absolute path, such as /mnt/easq"
        require(re.fullmatch(r"/[\w.-]+(/[\w.-]+)*", found) is not None, "path", found, expected)


@dataclass(frozen=True)
class Resources:
    """What one step may use; the others use what the cluster gives by default.

    Attributes:
        component: its name, such as Trainer.
        cpus: cores.
        memory_gb: memory, in 10^9 bytes.
        gpus: accelerators.
        gpu_type: of Kubernetes the resource, of Vertex AI the type, such as NVIDIA_TESLA_T4.
    """

    component: str
    cpus: float | None = None
    memory_gb: float | None = None
    gpus: int = 0
    gpu_type: str = "nvidia.com/gpu"

    def __post_init__(self) -> None:
        for name in ("cpus", "memory_gb"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "more than 0")
        require(self.gpus >= 0, "gpus", self.gpus, "0 or more")


@dataclass(frozen=True)
class Variable:
    """An environment variable of every step.

    Attributes:
        name: of the variable.
        value: of the variable; or
        secret, key: the Kubernetes secret that holds it, and its key there; Kubeflow only.
    """

    name: str
    value: str | None = None
    secret: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        given = (self.value is not None, self.secret is not None, self.key is not None)
        if given not in ((True, False, False), (False, True, True)):
            sources = "a mixture of" if any(given) else "no"
            found = f"a variable {self.name} with {sources} sources"
            raise ConfigError("", found, "a value, or a secret with a key")


@dataclass(frozen=True)
class KubeflowSettings:
    """What `easq kubeflow` needs to know of the cluster.

    Attributes:
        image: of every step, with a tag or a digest; built by the project's Dockerfile.
        pipeline_root: where artifacts go: gs://, s3:// or minio://.
        logs: the folder of the logs: gs://, s3://, hdfs://, or on a volume. A parameter of every
            run; this is its default.
        serving_dir: where pushed models go: gs://, or on a volume.
        window_spans: 0: `logs` is one log. Otherwise spans land in it, and a run reads the last so
            many up to its parameter `span`, which is the newest one by default.
        volumes, environment: of every step.
        resources: of single steps.
    """

    image: str
    pipeline_root: str
    logs: str
    serving_dir: str
    window_spans: int = 0
    volumes: tuple[Volume, ...] = ()
    environment: tuple[Variable, ...] = ()
    resources: tuple[Resources, ...] = ()

    def __post_init__(self) -> None:
        pinned = _PINNED_IMAGE.fullmatch(self.image) and not self.image.endswith(":latest")
        expected = "an image with the tag of one build, such as registry.example/easq:1.0"
        require(bool(pinned), "image", self.image, expected)
        spans = self.window_spans
        require(spans >= 0, "window_spans", spans, "0 or more")
        self._require_place("pipeline_root", ARTIFACT_SCHEMES, volume=False)
        self._require_place("logs", LOG_SCHEMES)
        self._require_place("serving_dir", ("gs",))

    @classmethod
    def from_yaml(cls, path: str | Path, **changes: Any) -> KubeflowSettings:
        """Settings from a YAML file, with some of them changed; raises `ConfigError`."""
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise ConfigError("", repr(values), "a mapping of settings", str(path))
        return build(cls, {**values, **changes}, file=str(path))

    def _require_place(self, name: str, schemes: tuple[str, ...], *, volume: bool = True) -> None:
        place = getattr(self, name)
        remote = _SCHEME.match(place)
        if remote is not None and remote["scheme"] in schemes:
            return
        if volume and any(f"{place}/".startswith(f"{held.path}/") for held in self.volumes):
            return
        expected = " or ".join(f"{scheme}://…" for scheme in schemes)
        if volume:
            expected += ", or a path on one of the volumes"
        raise ConfigError(name, repr(place), f"{expected}: a step sees no other place")


def require_shared_places(kubeflow: KubeflowSettings, *, distributed: bool, vertex: bool) -> None:
    """Raises `ConfigError` where the runner's workers or Vertex AI cannot reach a place.

    Args:
        kubeflow: the settings.
        distributed: whether Beam steps run on workers outside the step's container.
        vertex: whether the pipeline is for Vertex AI.
    """
    root, logs = kubeflow.pipeline_root, kubeflow.logs
    if vertex:
        if kubeflow.volumes:
            raise ConfigError(
                "volumes", "volumes", "none: Vertex AI mounts none; use gs:// instead"
            )
        if any(variable.secret for variable in kubeflow.environment):
            raise ConfigError("environment", "a secret", "values only: Vertex AI reads no secrets")
        require(root.startswith("gs://"), "pipeline_root", root, "gs://… on Vertex AI")
    if distributed:
        # Other artifacts are copied into the container of the step, where workers do not see them.
        require(root.startswith("gs://"), "pipeline_root", root, "gs://… with distributed Beam")
        expected = "gs://…, s3://… or hdfs://… with distributed Beam"
        require(is_remote(logs), "logs", logs, expected)
