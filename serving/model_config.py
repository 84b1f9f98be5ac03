"""Reads and checks the list of models to serve."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from serving.errors import failed_precondition, invalid
from serving.text_protos import parse_text_file

PLATFORM = "tensorflow"


def single_model_config(name: str, base_path: str) -> Any:
    """The `ModelServerConfig` that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def read_model_config(path: str) -> Any:
    """The `ModelServerConfig` in a text file.

    Raises:
        ServingError: the file cannot be read or is not such a proto.
    """
    return parse_text_file(path, model_server_config_pb2.ModelServerConfig())


def check_model_config(config: Any) -> dict[str, Any]:
    """Refuse a configuration that cannot be served.

    Returns:
        The `ModelConfig`s by model name.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise failed_precondition("ModelServer does not yet support custom model config.")
    models: dict[str, Any] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        if not os.path.isabs(model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
        platform = _platform(model)
        if platform != PLATFORM:
            raise invalid(f"Model {model.name} requests unsupported platform {platform}")
        if model.HasField("logging_config"):
            raise failed_precondition(
                f"Model {model.name} asks for logging_config: request logging needs TensorFlow "
                "Serving's own log collectors and is not offered by this server"
            )
        models[model.name] = model
    return models


def _platform(model: Any) -> str:
    if model.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if model.model_type == model_server_config_pb2.TENSORFLOW:
            return PLATFORM
        raise invalid(f"ModelServerConfig::model_type {model.model_type} not supported.")
    if not model.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    return str(model.model_platform)
