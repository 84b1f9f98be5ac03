"""The model to beat, found without ML Metadata: the newest one that was pushed.

Kubeflow's engine has no resolvers. But only a model that was blessed is pushed, so the serving
folder knows as well which one was the last.
"""

# No `from __future__ import annotations` here: TFX reads the component's annotations as objects.

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types.standard_artifacts import Model
from tfx.utils import io_utils, path_utils

_LAST_WRITTEN = "saved_model.pb"  # Pusher copies it last: where it is, the version is whole


@component
def LastPushedModel(model: OutputArtifact[Model], serving_dir: Parameter[str]):
    """Copies the newest version in `serving_dir`; `model` stays empty where nothing was pushed."""
    versions = sorted(
        (int(name) for name in _names_in(serving_dir) if name.isdecimal()), reverse=True
    )
    for version in versions:
        pushed = os.path.join(serving_dir, str(version))
        if fileio.exists(os.path.join(pushed, _LAST_WRITTEN)):
            io_utils.copy_dir(pushed, path_utils.serving_model_path(model.uri))
            model.set_string_custom_property("pushed_version", str(version))
            return


def _names_in(folder: str) -> list[str]:
    if not fileio.exists(folder):
        return []
    return [name.rstrip("/") for name in fileio.listdir(folder)]
