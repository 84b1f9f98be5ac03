"""What runs in the container of every step: `python -m pipeline.kubeflow.step`.

TFX's own entry point does the work. Before it, this brings what the engine hands over into the form
that TFX expects, and after it, what TFX leaves behind into the form that the engine expects:

* Kubeflow hands inputs over without their types; the step's interface has them.
* `s3://` and `minio://` artifacts, which TensorFlow cannot read, lie in the container already: the
  engine copies inputs in and outputs out. Their local paths take the place of their URIs.
"""

from __future__ import annotations

import itertools
import json
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

_TFX_ENTRY = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_INVOCATION = "--json_serialized_invocation_args"
_INTERFACE = "--json_serialized_inputs_spec_args"
# Where Kubeflow's launcher puts the artifacts of a store; gs:// is read as it is.
_LOCAL_ROOTS = {"s3": "/s3/", "minio": "/minio/", "file": ""}


def local_path(uri: str) -> str | None:
    """Where an artifact lies in the container; None where it is read by its URI."""
    scheme, remote, rest = uri.partition("://")
    if not remote or scheme not in _LOCAL_ROOTS:
        return None
    return _LOCAL_ROOTS[scheme] + rest


def prepared(
    invocation: pipeline_spec_pb2.ExecutorInput, interface: pipeline_spec_pb2.ComponentInputsSpec
) -> dict[str, str]:
    """Brings an invocation into the form that TFX expects, in place, and makes output folders.

    Returns:
        By local path, the URI whose place it took.
    """
    uris = {}
    for key, artifacts in invocation.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            if artifact.type.WhichOneof("kind") is None:
                artifact.type.CopyFrom(interface.artifacts[key].artifact_type)
    for artifact in _artifacts(invocation):
        path = local_path(artifact.uri)
        if path is not None:
            uris[path] = artifact.uri
            artifact.uri = path
    for artifacts in invocation.outputs.artifacts.values():
        for artifact in artifacts.artifacts:
            if artifact.uri in uris:
                Path(artifact.uri).mkdir(parents=True, exist_ok=True)
    return uris


def restored(output: Any, uris: Mapping[str, str]) -> Any:
    """What TFX wrote, with URIs where it has local paths, in artifacts and in their properties."""
    if isinstance(output, dict):
        return {name: restored(value, uris) for name, value in output.items()}
    if isinstance(output, list):
        return [restored(value, uris) for value in output]
    if isinstance(output, str):
        for path, uri in uris.items():
            if output == path or output.startswith(f"{path}/"):
                return uri + output[len(path) :]
    return output


def main(arguments: list[str]) -> None:
    """Runs a step with the arguments of its container."""
    given = dict(itertools.pairwise(arguments))
    invocation = pipeline_spec_pb2.ExecutorInput()
    json_format.Parse(given[_INVOCATION], invocation, ignore_unknown_fields=True)
    interface = pipeline_spec_pb2.ComponentInputsSpec()
    json_format.Parse(given[_INTERFACE], interface, ignore_unknown_fields=True)
    uris = prepared(invocation, interface)
    arguments = list(arguments)
    arguments[arguments.index(_INVOCATION) + 1] = json_format.MessageToJson(invocation)
    sys.argv = [_TFX_ENTRY, *arguments]
    try:
        runpy.run_module(_TFX_ENTRY, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    written = invocation.outputs.output_file
    if uris and os.path.exists(written):
        output = json.loads(Path(written).read_text(encoding="utf-8"))
        Path(written).write_text(json.dumps(restored(output, uris)), encoding="utf-8")


def _artifacts(
    invocation: pipeline_spec_pb2.ExecutorInput,
) -> Iterator[pipeline_spec_pb2.RuntimeArtifact]:
    for side in (invocation.inputs, invocation.outputs):
        for artifacts in side.artifacts.values():
            yield from artifacts.artifacts


if __name__ == "__main__":
    main(sys.argv[1:])
