"""The options of the Beam pipelines: checked before anything runs, told apart by where they run."""

from __future__ import annotations

from collections.abc import Sequence

# These run in the process of the step or in processes beside it.
LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "PrismRunner")


def runner_of(beam_args: Sequence[str]) -> str:
    """The name of the runner; without one it is Beam's own."""
    for argument, following in zip(beam_args, [*beam_args[1:], ""], strict=True):
        name, given, value = argument.partition("=")
        if name == "--runner":
            return (value if given else following).rpartition(".")[2]
    return "DirectRunner"


def is_distributed(beam_args: Sequence[str]) -> bool:
    """Whether the runner's workers may be on other machines."""
    return runner_of(beam_args) not in LOCAL_RUNNERS
