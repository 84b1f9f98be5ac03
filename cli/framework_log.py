"""Sends the log flood of TFX, Beam and TensorFlow to a file, C++ lines included."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def framework_log(path: Path) -> Iterator[TextIO]:
    """Redirects this process's standard error to `path` and yields the terminal that it was.

    C++ libraries write to file descriptor 2 whatever Python's `sys.stderr` is, so the descriptor
    itself is redirected; what people should see goes to the yielded stream.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal_fd = os.dup(2)
    log_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    root = logging.getLogger()
    level_before = root.level
    handler = logging.StreamHandler(sys.stderr)
    try:
        os.dup2(log_fd, 2)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        warnings.simplefilter("default")
        with os.fdopen(os.dup(terminal_fd), "w", buffering=1) as terminal:
            yield terminal
    finally:
        root.removeHandler(handler)
        sys.stderr.flush()
        logging.captureWarnings(False)
        root.setLevel(level_before)
        os.dup2(terminal_fd, 2)
        os.close(terminal_fd)
        os.close(log_fd)
