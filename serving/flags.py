"""`tensorflow_model_server`'s command line, spelt the same, read into `ServerOptions`.

A flag this server cannot honour is refused by name: it never starts with a setting silently
dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from serving.options import ServerOptions

_HELP = {
    "port": "TCP port to listen on for gRPC API.",
    "bind_address": "Address the ports are opened on. The only flag TensorFlow Serving does not "
    "have: it listens on every interface, this server on loopback unless told otherwise.",
    "grpc_socket_path": "If non-empty, listen to a UNIX socket for gRPC API on the given path.",
    "grpc_channel_arguments": "A comma separated list of arguments to be passed to the grpc "
    "server (e.g. grpc.max_connection_age_ms=2000).",
    "grpc_max_threads": "Max grpc server threads to handle grpc messages; 0 means 4 a CPU, or 64 "
    "with a batch timeout, where each waits for its batch.",
    "rest_api_port": "Port to listen on for HTTP/REST API. If set to zero HTTP/REST API will not "
    "be exported.",
    "rest_api_num_threads": "Number of threads for HTTP/REST API processing; the default is 4 a "
    "CPU.",
    "rest_api_timeout_in_ms": "Timeout for HTTP/REST API calls.",
    "rest_api_enable_cors_support": "Enable CORS headers in response.",
    "model_name": "name of model (ignored if --model_config_file flag is set)",
    "model_base_path": "path to export (ignored if --model_config_file flag is set, otherwise "
    "required)",
    "model_config_file": "If non-empty, read an ascii ModelServerConfig protobuf from the "
    "supplied file name, and serve the models in that file.",
    "model_config_file_poll_wait_seconds": "Interval in seconds between each poll of "
    "model_config_file. If unset or zero, it is read once.",
    "file_system_poll_wait_seconds": "Interval in seconds between each poll of the filesystem for "
    "new model versions. Zero polls once; a negative value never does.",
    "num_load_threads": "Number of threads that load versions; 0 loads them one after another.",
    "num_unload_threads": "Number of threads that unload versions; 0 unloads them one after "
    "another.",
    "max_num_load_retries": "How often loading a version is tried again after the first failure.",
    "load_retry_interval_micros": "Microseconds between load retries; negative does not wait.",
    "allow_version_labels_for_unavailable_models": "If true, allows assigning unused version "
    "labels to models that are not available yet.",
    "force_allow_any_version_labels_for_unavailable_models": "If true, allows assigning any "
    "version label to models that are not available yet.",
    "saved_model_tags": "Comma-separated set of tags of the meta graph def to load.",
    "enable_model_warmup": "Replay assets.extra/tf_serving_warmup_requests before a version "
    "becomes available.",
    "num_request_iterations_for_warmup": "How often each warm-up request is replayed, if > 0.",
    "enable_batching": "enable batching",
    "batching_parameters_file": "If non-empty, read an ascii BatchingParameters protobuf from "
    "the supplied file name.",
    "monitoring_config_file": "If non-empty, read an ascii MonitoringConfig protobuf from the "
    "supplied file name.",
    "ssl_config_file": "If non-empty, read an ascii SSLConfig protobuf from the supplied file "
    "name and set up a secure gRPC channel.",
    "tensorflow_session_parallelism": "Threads of a session, within and between operations. 0 "
    "means 1: ranking models are small and one thread a request is fastest under load.",
    "tensorflow_intra_op_parallelism": "Threads within an operation; 0 means 1.",
    "tensorflow_inter_op_parallelism": "Threads between operations; 0 means 1.",
    "tensorflow_session_config_file": "If non-empty, read an ascii TensorFlow Session ConfigProto "
    "from the supplied file name; thread and memory flags override it.",
    "per_process_gpu_memory_fraction": "Fraction of the GPU memory the process takes, 0 to 1; 0 "
    "lets TensorFlow choose.",
    "enable_signature_method_name_check": "Require a signature's method_name to match the API.",
    "enable_grpc_healthcheck_service": "Enable the standard gRPC healthcheck service.",
    "enable_serialization_as_tensor_content": "Answer Predict with tensor_content, which is "
    "faster to write and to read, rather than with typed values.",
    "prefer_tflite_model": "Run the version folder's model.tflite rather than its saved_model.pb, "
    "where it agrees with it to 1e-5 on the warm-up requests; else TensorFlow serves.",
    "num_tflite_pools": "Number of pools of LiteRT interpreters; 0 means one a CPU.",
    "num_tflite_interpreters_per_pool": "Interpreters of a pool; 0 means 1.",
    "flush_filesystem_caches": "Accepted: local file systems keep no cache to flush.",
    "remove_unused_fields_from_bundle_metagraph": "Accepted: only signatures are ever kept.",
}

# Flags that change what is served and cannot be honoured here, with their defaults.
_REFUSED = {
    "enable_per_model_batching_parameters": "false",
    "enable_profiler": "false",
    "mixed_precision": "",
    "model_config_list_root_dir": "",
    "platform_config_file": "",
    "skip_initialize_tpu": "false",
    "storage_path_prefix": "",
    "thread_pool_factory_config_file": "",
    "use_alts_credentials": "false",
    "xla_cpu_compilation_enabled": "false",
    "xla_gpu_compilation_enabled": "false",
}

_KINDS = {item.name: item.type for item in fields(ServerOptions)}


class UsageError(Exception):
    """The command line cannot be read or asks for something this server does not do."""


def parse_flags(arguments: Sequence[str]) -> ServerOptions:
    """Read flags written as `--name=value`, `--name value` or, for true, `--name`.

    Raises:
        UsageError: an unknown flag, a value of the wrong type, or a flag that cannot be honoured.
    """
    values: dict[str, Any] = {}
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        name, has_value, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or (name not in _KINDS and name not in _REFUSED):
            raise UsageError(f"unknown argument: {argument}")
        boolean = _KINDS.get(name) == "bool" or _REFUSED.get(name) == "false"
        if not has_value:
            if boolean:
                value = "true"
            elif queue:
                value = queue.pop(0)
            else:
                raise UsageError(f"--{name} needs a value")
        if name in _REFUSED:
            if value.lower() != _REFUSED[name]:
                raise UsageError(
                    f"--{name}={value} cannot be honoured by this server; leave the flag out, or "
                    "serve with TensorFlow Serving"
                )
        else:
            values[name] = _convert(name, value)
    return _checked(ServerOptions(**values))


def _convert(name: str, value: str) -> Any:
    kind = _KINDS[name]
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
    except ValueError:
        raise UsageError(f"--{name}={value}: expected a number") from None
    if kind == "bool":
        if value.lower() not in ("true", "false", "1", "0"):
            raise UsageError(f"--{name}={value}: expected true or false")
        return value.lower() in ("true", "1")
    return value


def _checked(options: ServerOptions) -> ServerOptions:
    if options.port == 0:
        raise UsageError("server_options.grpc_port is not set.")
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(options, name) <= 65535:
            raise UsageError(f"--{name}={getattr(options, name)}: expected 0 to 65535")
    if options.port == options.rest_api_port:
        raise UsageError(
            "--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST "
            "API."
        )
    if not options.model_base_path and not options.model_config_file:
        raise UsageError(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    if options.batching_parameters_file and not options.enable_batching:
        raise UsageError(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    for name in ("rest_api_num_threads", "rest_api_timeout_in_ms"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name}={getattr(options, name)}: expected at least 1")
    for name in (
        "grpc_max_threads",
        "max_num_load_retries",
        "num_load_threads",
        "num_tflite_interpreters_per_pool",
        "num_tflite_pools",
        "num_unload_threads",
    ):
        if getattr(options, name) < 0:
            raise UsageError(f"--{name}={getattr(options, name)}: expected at least 0")
    if (
        options.tensorflow_session_parallelism > 0
        and options.tensorflow_intra_op_parallelism > 0
        and options.tensorflow_inter_op_parallelism > 0
    ):
        raise UsageError(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
        )
    if not 0 <= options.per_process_gpu_memory_fraction <= 1:
        raise UsageError("--per_process_gpu_memory_fraction: expected 0.0 to 1.0")
    return options


def usage(program: str) -> str:
    """The help text: every honoured flag with its default, and the names of those refused."""
    defaults = ServerOptions()
    lines = [
        f"usage: {program} --model_base_path=/abs/path [flags]",
        "",
        "Examples:",
        f"  {program} --model_name=easq --model_base_path=$PWD/easq_run/serving_model/easq",
        f"  {program} --model_config_file=models.config --rest_api_port=8501",
        "",
        "Flags:",
    ]
    for name, text in _HELP.items():
        kind = _KINDS[name].replace("str", "string")
        default = getattr(defaults, name)
        shown = str(default).lower() if isinstance(default, bool) else repr(default)
        lines += [f"\t--{name}={shown}", f"\t\t{kind}\t{text}"]
    lines += ["\t--version", "\t\tbool\tDisplay version"]
    lines.append(f"Refused unless given their default: --{', --'.join(sorted(_REFUSED))}")
    return "\n".join(lines)
