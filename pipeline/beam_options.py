"""The options of the Beam pipelines: read, and checked before anything runs.

Any Beam runner takes the Beam steps (LogExampleGen, StatisticsGen, Transform, Evaluator). What a
runner needs is in its options alone; `pipeline/beam_args` holds files of them.
"""

from __future__ import annotations

import itertools
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.logs.checked import ConfigError, suggest

if TYPE_CHECKING:
    import apache_beam as beam

# These run in the process of the step, or in processes that it starts beside itself.
LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "PrismRunner")
# These hand the pipeline to a job server.
_PORTABLE_RUNNERS = ("PortableRunner", "FlinkRunner", "SparkRunner")
RUNNERS = (*LOCAL_RUNNERS, *_PORTABLE_RUNNERS, "DataflowRunner")
# Environments whose workers run what is installed where they are; the others start an image.
_INSTALLED_ENVIRONMENTS = ("EXTERNAL", "PROCESS", "LOOPBACK")
# Any of these says what workers have installed, and keeps TFX from packing itself for them.
_PACKAGES = (
    "--sdk_container_image",
    "--worker_harness_container_image",
    "--extra_package",
    "--setup_file",
    "--requirements_file",
)
_CONNECT_SECONDS = 5.0
_KEY = "beam_args"


def read_beam_args(text: str) -> tuple[str, ...]:
    """Options as a command line has them, or `@FILE` with some on each line.

    In a file, empty lines and those that begin with `#` say nothing.

    Raises:
        ConfigError: no such file, or a quote that is not closed.
    """
    lines, file = [text], None
    if text.startswith("@"):
        file = text[1:]
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(_KEY, error.strerror or "", "a file of Beam options", file) from error
    said = [line for line in lines if not line.lstrip().startswith("#")]
    try:
        return tuple(option for line in said for option in shlex.split(line))
    except ValueError as error:
        expected = "options as a shell reads them"
        raise ConfigError(_KEY, str(error).lower(), expected, file) from error


def runner_of(beam_args: Sequence[str]) -> str:
    """The name of the runner; without one it is Beam's own."""
    return (_value(beam_args, "--runner") or "DirectRunner").rpartition(".")[2]


def is_distributed(beam_args: Sequence[str]) -> bool:
    """Whether the workers may be on other machines."""
    return runner_of(beam_args) not in LOCAL_RUNNERS


def shuffles_in_memory(pipeline: beam.Pipeline) -> bool:
    """Whether the runner of a pipeline keeps in its memory what goes from step to step."""
    return type(pipeline.runner).__name__ in (*LOCAL_RUNNERS, "SwitchingDirectRunner")


def check_beam_args(beam_args: Sequence[str]) -> None:
    """Raises `ConfigError` on an unknown runner, an option that nobody reads or a wrong value."""
    # Beam's own parser, which knows the options of every runner.
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    runner = runner_of(beam_args)
    if runner == "DaskRunner":
        expected = "another runner: that of Beam 2.77 keeps only the main output of a step"
        raise ConfigError(_KEY, repr(runner), expected)
    if runner not in RUNNERS:
        known = f"one of {', '.join(RUNNERS)}{suggest(runner, RUNNERS)}"
        raise ConfigError(_KEY, f"the runner {runner!r}", known)

    class Parser(_BeamArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ConfigError(_KEY, message, "an option as Beam knows it")

    parser = Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in _subclasses(PipelineOptions):
        add: Any = options.__dict__.get("_add_argparse_args")
        if add is not None:
            add.__get__(None, options)(parser)
    _, unknown = parser.parse_known_args(list(beam_args))
    # A job server has options of its own, which Beam learns from it.
    if unknown and runner not in _PORTABLE_RUNNERS:
        known = [text for action in parser._actions for text in action.option_strings]
        hint = suggest(unknown[0].partition("=")[0], known)
        raise ConfigError(_KEY, repr(unknown[0]), f"an option of Beam{hint}")
    if not _runs_installed(beam_args) and not any(_given(beam_args, name) for name in _PACKAGES):
        raise ConfigError(
            _KEY,
            f"{runner} and no --sdk_container_image",
            "the image of the workers, with this package in it (docs/beam.md)",
        )


def require_local_workers(beam_args: Sequence[str], place: str | Path) -> None:
    """Raises `ConfigError` if workers would run where a local folder is not."""
    if not _runs_installed(beam_args):
        raise ConfigError(
            _KEY,
            f"{runner_of(beam_args)} with the local folder {place}",
            "workers that see it (--environment_type=EXTERNAL, PROCESS or LOOPBACK), or artifacts "
            "in a bucket: easq kubeflow",
        )


def require_reachable(beam_args: Sequence[str]) -> None:
    """Raises `ConfigError` if the job server, the cluster or the worker pool does not answer."""
    names = ["--job_endpoint", "--flink_master"]
    if _value(beam_args, "--environment_type") == "EXTERNAL":
        names.append("--environment_config")
    for name in names:
        address = _value(beam_args, name) or ""
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdecimal():
            continue  # such as [auto], or the JSON form of an environment
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            found = f"{name}={address}, where nobody answers ({error.strerror or error})"
            raise ConfigError(_KEY, found, "a service that runs; start it first") from error


def for_tfx(beam_args: Sequence[str]) -> list[str]:
    """The options as TFX's components are given them.

    TFX packs itself for workers elsewhere unless an option says what they have: 4 s a step, which
    workers that run what is installed have no use for.
    """
    args = list(beam_args)
    if _runs_installed(args) and not any(_given(args, name) for name in _PACKAGES):
        args.append("--sdk_container_image=none")
    return args


def _runs_installed(beam_args: Sequence[str]) -> bool:
    if not is_distributed(beam_args):
        return True
    return _value(beam_args, "--environment_type") in _INSTALLED_ENVIRONMENTS


def _value(beam_args: Sequence[str], option: str) -> str | None:
    """The value of an option, written `--option=value` or as two words; the last one counts."""
    found = None
    for argument, following in itertools.pairwise([*beam_args, ""]):
        name, joined, value = argument.partition("=")
        if name == option:
            found = value if joined else following
    return found


def _given(beam_args: Sequence[str], option: str) -> bool:
    return any(argument.partition("=")[0] == option for argument in beam_args)


def _subclasses(kind: type) -> list[type]:
    direct = kind.__subclasses__()
    return [*direct, *(deeper for one in direct for deeper in _subclasses(one))]
