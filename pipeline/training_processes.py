"""Training by several processes of one host: starts the workers, all anew when one is killed.

On several hosts whatever runs them does this (TFJob's `restartPolicy`, a Vertex AI worker pool);
the workers are the same.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from pipeline.child_process import ending_with_us
from pipeline.configs import TrainerSettings
from pipeline.logs.checked import require
from pipeline.progress import LOGGER, Progress

_RESTARTS = 3
_SECONDS_BETWEEN_LOOKS = 0.2
_TAIL = 3000


def train_in_processes(fn_args: Any, settings: TrainerSettings) -> None:
    """Runs `pipeline.trainer.run_fn` in `settings.workers` processes, to its end.

    Args:
        fn_args: What `run_fn` was given.
        settings: Of the Trainer, tuned ones laid over them.

    Raises:
        ConfigError: More workers than cores.
        RuntimeError: A worker failed, with the end of what it said; or one was killed again and
            again.
    """
    workers = settings.workers
    cores = len(os.sched_getaffinity(0))
    require(
        workers <= cores, "trainer.workers", workers, f"at most {cores}, the cores of this host"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = _command(fn_args, settings, Path(folder))
        for attempt in range(_RESTARTS + 1):
            with _Workers(command, workers, cores // workers, Path(folder)) as processes:
                failed = processes.wait()
            if failed is None:
                return
            code, said = failed
            if code >= 0:
                raise RuntimeError(f"a training worker failed: {said}")
            name = signal.Signals(-code).name
            logging.warning("A training worker was killed by %s (start %d)", name, attempt + 1)
    raise RuntimeError(
        f"training workers were killed {_RESTARTS + 1} times, at last by {name}. If it was for "
        f"memory: fewer `trainer.workers` than {workers}, or a smaller `trainer.batch_size`. {said}"
    )


def _command(fn_args: Any, settings: TrainerSettings, folder: Path) -> list[str]:
    dataset, run = folder / "dataset.yaml", folder / "run.yaml"
    dataset.write_text(fn_args.custom_config["dataset_config"], encoding="utf-8")
    trainer = dataclasses.asdict(dataclasses.replace(settings, workers=1))
    run.write_text(json.dumps({"trainer": trainer}), encoding="utf-8")
    options = {
        "examples": os.path.dirname(os.path.dirname(fn_args.train_files[0])),
        "transform-graph": fn_args.transform_graph_path,
        "dataset": str(dataset),
        "settings": str(run),
        "model": os.path.dirname(fn_args.serving_model_dir),
        "model-run": fn_args.model_run_dir,
    }
    if fn_args.base_model:
        options["base-model"] = os.path.dirname(fn_args.base_model)
    flags = [f"--{name}={value}" for name, value in options.items()]
    # Else they would go on, for hours, for a Trainer that was killed and started again.
    return ending_with_us("-m", "pipeline.training_worker", *flags, by=signal.SIGKILL)


class _Workers:
    """The processes of one start; when the block ends none of them is left."""

    def __init__(self, command: list[str], workers: int, threads: int, folder: Path) -> None:
        self._command, self._number, self._threads = command, workers, threads
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> _Workers:
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(self._number)]
        for index in range(self._number):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            with self._log(index).open("w") as log:
                process = subprocess.Popen(
                    self._command,
                    env={
                        **os.environ,
                        "TF_CONFIG": json.dumps(task),
                        "TF_NUM_INTRAOP_THREADS": str(self._threads),
                        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    },
                    stdout=subprocess.PIPE if index == 0 else log,
                    stderr=log,
                    text=True,
                )
            self._processes.append(process)
        first = self._processes[0].stdout
        assert first is not None
        threading.Thread(target=_pass_on, args=(first,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def wait(self) -> tuple[int, str] | None:
        """Waits until all have ended well, or one has not: its exit code and its last words."""
        while True:
            codes = [process.poll() for process in self._processes]
            failed = [(code, index) for index, code in enumerate(codes) if code]
            if failed:
                code, index = min(failed)  # one that was killed before one that missed it
                return code, self._log(index).read_text(errors="replace")[-_TAIL:]
            if None not in codes:
                return None
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _log(self, index: int) -> Path:
        return self._folder / f"worker-{index}.log"


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _pass_on(output: IO[str]) -> None:
    """Reports the first worker's progress as this process's own."""
    for line in output:
        try:
            progress = Progress(**json.loads(line))
        except (ValueError, TypeError):
            continue  # what a library prints
        LOGGER.info(
            "%s: %d %s", progress.task, progress.done, progress.unit, extra={"progress": progress}
        )
