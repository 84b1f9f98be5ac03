"""Beam's portable job service and a pool of worker processes, each a process on loopback.

This is what a Python client sees of Flink and Spark: a job server that takes the pipeline over gRPC
and has worker processes, started by a pool, do the work.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.server_process import free_port

_START_SECONDS = 60


@contextmanager
def beam_cluster(folder: Path, workers: int) -> Iterator[list[str]]:
    """Starts both; yields the Beam options that run a pipeline there, on so many workers."""
    job_port, pool_port = free_port(), free_port()
    # The pool starts its workers as `python`.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    service = str(Path(__file__).with_name("beam_job_service.py"))
    commands = {
        "service": [service, str(job_port), str(workers)],
        "pool": [
            "-m",
            "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={pool_port}",
        ],
    }
    processes = []
    try:
        for name, arguments in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *arguments],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        cwd=folder,
                        env={**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""},
                    )
                )
        for port, process in zip((job_port, pool_port), processes, strict=True):
            _wait_for(port, process, folder)
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
        ]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, "\n".join(path.read_text() for path in folder.glob("*.log"))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nobody listens on port {port} after {_START_SECONDS} s")
