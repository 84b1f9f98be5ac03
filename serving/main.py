"""The command line of the server."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from types import FrameType

from serving.flags import UsageError, parse_flags, usage

# A signal is heard after this long at the latest.
_SECONDS_BETWEEN_LOOKS = 0.5


def main(arguments: Sequence[str], program: str = "python -m serving") -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: The flags.
        program: How the user calls it, for help and errors.

    Returns:
        The exit code: 0 after a signal, 1 where the server cannot start, 2 for a wrong command
        line.
    """
    if any(argument in ("--help", "-h", "--help=true") for argument in arguments):
        print(usage(program))
        return 0
    if any(argument.lstrip("-") in ("version", "version=true") for argument in arguments):
        print(f"EASQ ModelServer: {metadata.version('tensorflow-serving-api')} protocol")
        print(f"TensorFlow Library: {metadata.version('tensorflow')}")
        return 0
    try:
        options = parse_flags(arguments)
    except UsageError as error:
        print(f"Error: {error} (see {program} --help)", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr
    )
    # TensorFlow is imported only from here on: a wrong flag is told at once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # oneDNN's kernels take several times as long for the small matrices of a slate.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    from serving.errors import ServingError
    from serving.server import ModelServer

    tf.get_logger().setLevel("ERROR")
    asked_to_stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    failures: list[ServingError] = []

    def start() -> None:
        try:
            server.start()
        except ServingError as error:
            failures.append(error)
            asked_to_stop.set()

    try:
        server = ModelServer(options)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return 1
    # Models may take long to appear; a signal must end the wait.
    starting = threading.Thread(target=start, name="start")
    starting.start()
    # Python runs a handler between two steps of the main thread; if its signal comes right before a
    # wait without limit, it would run when that is over, which is never.
    while not asked_to_stop.wait(_SECONDS_BETWEEN_LOOKS):
        pass
    if not failures:
        logging.getLogger(__name__).info("Stopping: finishing the requests under way")
    server.manager.give_up_waiting()
    starting.join()
    finished = server.stop()
    if failures:
        print(f"Failed to start server. Error: {failures[0]}", file=sys.stderr)
        return 1
    if not finished:
        print("Requests were still running when their grace ended", file=sys.stderr, flush=True)
        # Their threads never end; leaving in the ordinary way would wait for them.
        os._exit(1)
    return 0
