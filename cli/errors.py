"""How a command fails."""

from __future__ import annotations

import re

import click

_ROOMS = ("cli", "easq_keras", "experiments", "pipeline", "serving", "simulator")


class JobError(click.ClickException):
    """The job failed; one line says why and what to do. Exit code 1."""

    exit_code = 1

    @classmethod
    def of(cls, error: Exception) -> JobError:
        """The same in the words of another error; of the system's, the file and what is wrong."""
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            return cls(f"{error.filename}: {error.strerror.lower()}")
        return cls(str(error))


def first_cause(error: BaseException) -> str:
    """The one line that says what went wrong, out of what the frameworks wrapped around it.

    An error of this project names the file and the remedy; what a library said before it does not.
    Beam raises the text of a worker's whole traceback, its last line being the cause, and appends
    the name of the step.
    """
    while error.__cause__ is not None and not _is_ours(error):
        error = error.__cause__
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        text = [line for line in text.splitlines() if line and not line[0].isspace()][-1]
        text = re.sub(r"^[\w.]+(Error|Exception): ", "", text)
    text = re.sub(r" \[while running .*\]$", "", text)
    return text.splitlines()[0] if text else type(error).__name__


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _ROOMS
