"""How a command fails."""

from __future__ import annotations

import re

import click


class JobError(click.ClickException):
    """The job failed; one line says why and what to do. Exit code 1."""

    exit_code = 1


def first_cause(error: BaseException) -> str:
    """The one line that says what went wrong, out of what the frameworks wrapped around it.

    Beam raises the text of a worker's whole traceback, its last line being the cause, and appends
    the name of the step.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        text = [line for line in text.splitlines() if line and not line[0].isspace()][-1]
        text = re.sub(r"^[\w.]+(Error|Exception): ", "", text)
    text = re.sub(r" \[while running .*\]$", "", text)
    return text.splitlines()[0] if text else type(error).__name__
