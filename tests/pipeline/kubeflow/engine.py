"""A pipeline engine as small as it can be: runs a compiled specification, step after step.

It does what Kubeflow's own does, and no more: containers only, no resolvers, no drivers, input
artifacts without their types, every step in a fresh process with the compiled command. Artifacts
lie under a `file://` root, and the image is this environment.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Plain = dict[str, Any]


class StepFailed(AssertionError):
    """A container ended with an error; the message is the end of its log."""


class Engine:
    """Runs the steps of one specification.

    Args:
        spec: the compiled pipeline.
        folder: for artifacts, outputs and logs.
        parameters: of the run, over their defaults.
    """

    def __init__(self, spec: Plain, folder: Path, **parameters: Any) -> None:
        self._spec, self._folder = spec, folder
        self._tasks: Plain = spec["root"]["dag"]["tasks"]
        declared = spec["root"]["inputDefinitions"]["parameters"]
        self._parameters = {name: one["defaultValue"] for name, one in declared.items()}
        assert parameters.keys() <= declared.keys()
        self._parameters.update(parameters)
        self._ids = itertools.count(1)
        self.artifacts: dict[str, dict[str, Plain]] = {}

    def order(self) -> list[str]:
        """The names of the steps, each after those that it waits for."""
        done: list[str] = []
        while len(done) < len(self._tasks):
            ready = [
                name
                for name, task in sorted(self._tasks.items())
                if name not in done and set(self._waits_for(task)) <= set(done)
            ]
            assert ready, f"a circle among {set(self._tasks) - set(done)}"
            done.extend(ready)
        return done

    def run(self, steps: Iterable[str]) -> None:
        """Runs these steps; what they read must have been made."""
        for name in steps:
            self._run(name)

    def _run(self, name: str) -> None:
        task = self._tasks[name]
        component = self._spec["components"][task["componentRef"]["name"]]
        executor = self._spec["deploymentSpec"]["executors"][component["executorLabel"]]
        container = executor["container"]
        number = next(self._ids)
        place = self._folder / f"{number:02d}-{name}"
        place.mkdir(parents=True)
        invocation = self._invocation(task, component, place)
        filled = [
            argument.replace("{{$}}", json.dumps(invocation)) for argument in container["args"]
        ]
        command = [*container["command"], *filled]
        assert command[0] == "python"
        command[0] = sys.executable
        variables = {one["name"]: one["value"] for one in container.get("env", ())}
        with (place / "log.txt").open("wb") as log:
            ended = subprocess.run(
                command,
                cwd=place,  # nothing may depend on where the container starts
                env={**os.environ, **variables, "CUDA_VISIBLE_DEVICES": ""},
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=900,
                check=False,
            )
        if ended.returncode:
            raise StepFailed(f"{name}: {(place / 'log.txt').read_text(errors='replace')[-3000:]}")
        self.artifacts[name] = self._published(invocation)

    def _invocation(self, task: Plain, component: Plain, place: Path) -> Plain:
        inputs = task.get("inputs", {})
        artifacts = {}
        for key, source in inputs.get("artifacts", {}).items():
            made = source["taskOutputArtifact"]
            artifact = self.artifacts[made["producerTask"]][made["outputArtifactKey"]]
            kept = {part: artifact[part] for part in ("name", "uri", "metadata")}
            artifacts[key] = {"artifacts": [kept]}
        outputs = {}
        for key, declared in component.get("outputDefinitions", {}).get("artifacts", {}).items():
            output = {
                "uri": f"file://{place}/{key}",
                "type": declared["artifactType"],
                "metadata": declared.get("metadata", {}),
            }
            outputs[key] = {"artifacts": [output]}
        return {
            "inputs": {
                "artifacts": artifacts,
                "parameterValues": {
                    name: self._value(source)
                    for name, source in inputs.get("parameters", {}).items()
                },
            },
            "outputs": {
                "artifacts": outputs,
                "outputFile": str(place / "kfp_outputs" / "output_metadata.json"),
            },
        }

    def _value(self, source: Plain) -> Any:
        if "componentInputParameter" in source:
            return self._parameters[source["componentInputParameter"]]
        return source["runtimeValue"]["constant"]

    def _published(self, invocation: Plain) -> dict[str, Plain]:
        """The outputs as the next steps see them: named by a number, with what the step said."""
        said = json.loads(Path(invocation["outputs"]["outputFile"]).read_text())
        published = {}
        for key, listed in invocation["outputs"]["artifacts"].items():
            (artifact,) = listed["artifacts"]
            (written,) = said["artifacts"][key]["artifacts"]
            published[key] = {
                "name": str(next(self._ids)),
                "uri": written["uri"],
                "metadata": {**artifact["metadata"], **written.get("metadata", {})},
            }
        return published

    @staticmethod
    def _waits_for(task: Plain) -> list[str]:
        artifacts = task.get("inputs", {}).get("artifacts", {})
        makers = [source["taskOutputArtifact"]["producerTask"] for source in artifacts.values()]
        return [*makers, *task.get("dependentTasks", ())]
