"""Puts the server together: models first, then the ports, as TensorFlow Serving does."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

from serving.core import ServerCore
from serving.errors import ServingError
from serving.grpc_server import GrpcServer
from serving.http_server import HttpServer
from serving.loader import Loader
from serving.manager import ModelManager
from serving.metrics import Metrics
from serving.model_config import read_model_config, single_model_config
from serving.options import ServerOptions
from serving.rest import RestApi
from serving.text_protos import MonitoringConfig, parse_text_file

log = logging.getLogger(__name__)

METRICS_PATH = "/monitoring/prometheus/metrics"
# How long requests under way may still take when the server is told to stop.
GRACE_SECONDS = 15.0


class ModelServer:
    """A server in this process.

    The ports open once every model has an available version, so that a client that gets through
    can be served.

    Args:
        options: the settings.

    Raises:
        ServingError: a configuration file is wrong.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.metrics = Metrics()
        loader = Loader(options)
        self._batching = loader.batching
        self.manager = ModelManager(options, loader, self.metrics.loads.add)
        self._core = ServerCore(options, self.manager, self.metrics)
        self._rest = RestApi(self._core, _metrics_path(options.monitoring_config_file))
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None
        self._config_poller: threading.Thread | None = None
        self._config = self._read_config()

    def _read_config(self) -> Any:
        if self.options.model_config_file:
            return read_model_config(self.options.model_config_file)
        return single_model_config(self.options.model_name, self.options.model_base_path)

    def start(self) -> None:
        """Load the models and open the ports.

        Raises:
            ServingError: a model cannot be loaded or a port not be opened.
        """
        # What is loaded by now stays: the collector need not walk it again while serving.
        gc.collect()
        gc.freeze()
        self.manager.start(self._config)
        if self.manager.stopping:
            return
        self._grpc = GrpcServer(self._core, self._batching)
        options = self.options
        if options.rest_api_port:
            self._http = HttpServer(
                options.bind_address,
                options.rest_api_port,
                self._rest.respond,
                threads=options.rest_api_num_threads,
                timeout_seconds=options.rest_api_timeout_in_ms / 1000,
                cors=options.rest_api_enable_cors_support,
            )
            self._http.start()
        self._grpc.start()
        if self.options.model_config_file and self.options.model_config_file_poll_wait_seconds > 0:
            self._config_poller = threading.Thread(
                target=self._poll_config, name="config poll", daemon=True
            )
            self._config_poller.start()

    @property
    def grpc_port(self) -> int:
        """The TCP port of the gRPC API, once started."""
        assert self._grpc is not None
        return self._grpc.port

    def stop(self) -> bool:
        """Finish the requests under way, close the ports, unload the models.

        Returns:
            Whether all requests did finish within their grace.
        """
        if self._grpc is not None:
            self._grpc.stop(GRACE_SECONDS)
        if self._http is not None:
            self._http.stop(GRACE_SECONDS)
        return self.manager.stop(GRACE_SECONDS)

    def _poll_config(self) -> None:
        while not self.manager.wait_stopping(self.options.model_config_file_poll_wait_seconds):
            try:
                config = self._read_config()
                if config != self._config:
                    # A label may be ahead of its version: then again at the next poll.
                    self.manager.reload(config, lambda: True)
                    self._config = config
            except ServingError as error:
                log.error("Reloading %s failed: %s", self.options.model_config_file, error)


def _metrics_path(monitoring_config_file: str) -> str | None:
    if not monitoring_config_file:
        return None
    config = parse_text_file(monitoring_config_file, MonitoringConfig()).prometheus_config
    return (config.path or METRICS_PATH) if config.enable else None
