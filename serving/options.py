"""The server's settings: one field for each honoured flag, with `tensorflow_model_server`'s
defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _four_per_cpu() -> int:
    return 4 * len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class ServerOptions:
    """Settings of a `ModelServer`; the flag of the same name describes each (`--help`)."""

    port: int = 8500
    bind_address: str = "127.0.0.1"
    grpc_socket_path: str = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = 0
    rest_api_port: int = 0
    rest_api_num_threads: int = field(default_factory=_four_per_cpu)
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: int = 1
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    force_allow_any_version_labels_for_unavailable_models: bool = False
    saved_model_tags: str = "serve"
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    monitoring_config_file: str = ""
    ssl_config_file: str = ""
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    enable_signature_method_name_check: bool = False
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    prefer_tflite_model: bool = False
    num_tflite_pools: int = 0
    num_tflite_interpreters_per_pool: int = 0
    flush_filesystem_caches: bool = True
    remove_unused_fields_from_bundle_metagraph: bool = True

    def grpc_threads(self, *, wait: bool) -> int:
        """Number of gRPC threads: as told, or 4 a CPU, or enough to fill batches where each waits
        for its batch."""
        return self.grpc_max_threads or (64 if wait else _four_per_cpu())

    @property
    def interpreters(self) -> int:
        """LiteRT interpreters of a model: those of all pools, by default one pool a CPU."""
        pools = self.num_tflite_pools or len(os.sched_getaffinity(0))
        return pools * (self.num_tflite_interpreters_per_pool or 1)
