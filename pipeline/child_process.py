"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import sys

# Has the kernel send a signal when the starter ends, however it ends, and becomes the program. (A
# `preexec_fn` would run Python in a fork of a process that is full of threads.) Of a starter that
# has ended before it was asked, the kernel tells nothing.
_BECOME = """
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, int(sys.argv[1]))  # PR_SET_PDEATHSIG
except AttributeError:
    pass  # Linux only
if os.getppid() != int(sys.argv[2]):
    sys.exit("the process that started this one has ended")
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


def ending_with_us(*arguments: str, by: signal.Signals) -> list[str]:
    """The command of a Python program that gets a signal when the thread that starts it ends.

    It is for this process to start.

    Args:
        arguments: What follows `python`.
        by: The signal.
    """
    return [sys.executable, "-c", _BECOME, str(int(by)), str(os.getpid()), *arguments]
