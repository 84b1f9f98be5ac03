"""Who shares a training step: one process, the GPUs of this host, or the workers of a cluster.

A cluster is what `TF_CONFIG` names, as Kubeflow's training operator (TFJob) and Vertex AI's worker
pools set it. Without it `trainer.workers` counts on this host alone.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from typing import Any

import tensorflow as tf

from pipeline.logs.checked import ConfigError, require

# For the names of a cluster's hosts to be known: they start one after the other.
_PATIENCE_SECONDS = 300.0


def workers_of_cluster() -> int:
    """How many workers `TF_CONFIG` names, a chief among them; 0 without it.

    Raises:
        ConfigError: It cannot be read, or names parameter servers.
    """
    return len(_addresses(_cluster()))


def needs_processes(workers: int) -> bool:
    """Whether so many workers of one host are processes: where there is neither cluster nor GPU."""
    return workers > 1 and workers_of_cluster() < 2 and not tf.config.list_physical_devices("GPU")


def training_strategy(workers: int) -> tf.distribute.Strategy:
    """How the training step of this process is shared; to be called before TensorFlow computes.

    Args:
        workers: `trainer.workers`.

    Raises:
        ConfigError: More workers than GPUs, both `trainer.workers` and a cluster, or a cluster with
            a host that is not known.
    """
    addresses = _addresses(_cluster())
    if len(addresses) > 1:
        expected = f"1, since TF_CONFIG names {len(addresses)} workers already"
        require(workers == 1, "trainer.workers", workers, expected)
        require_known_hosts(addresses, _PATIENCE_SECONDS)
        logging.info("Training with %d workers: %s", len(addresses), ", ".join(addresses))
        return tf.distribute.MultiWorkerMirroredStrategy()
    if workers == 1:
        return tf.distribute.get_strategy()
    gpus = len(tf.config.list_physical_devices("GPU"))
    require(workers <= gpus, "trainer.workers", workers, f"at most {gpus}, the GPUs of this host")
    return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(workers)])


def require_known_hosts(addresses: list[str], patience: float) -> None:
    """Waits until the name of every worker's host is known.

    Args:
        addresses: `host:port` of each.
        patience: Seconds to wait for them.

    Raises:
        ConfigError: One is not, by then.
    """
    until = time.monotonic() + patience
    while unknown := [address for address in addresses if not _is_known(address)]:
        if time.monotonic() >= until:
            raise ConfigError(
                "TF_CONFIG", f"the workers {', '.join(unknown)}", "hosts that this one can find"
            )
        time.sleep(1.0)


def _is_known(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.getaddrinfo(host, int(port))
    except (OSError, ValueError):
        return False
    return True


def _cluster() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG")
    if not text:
        return {}
    try:
        return dict(json.loads(text).get("cluster") or {})
    except (ValueError, AttributeError, TypeError) as error:
        expected = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": …, "index": …}}'
        raise ConfigError("TF_CONFIG", repr(text), expected) from error


def _addresses(cluster: dict[str, Any]) -> list[str]:
    if cluster.get("ps"):
        expected = "workers alone: a step is made by all of them together"
        raise ConfigError("TF_CONFIG", f"{len(cluster['ps'])} parameter servers", expected)
    return [*cluster.get("chief", ()), *cluster.get("worker", ())]
