"""`easq doctor`: is everything there that the commands need, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

DISTRIBUTION = "easq-keras"
# `easq run` on its default took 2.4 GiB (resident memory of its processes, added up) and left 132
# MiB in its work folder; with room to spare.
MEMORY_GIB = 3.0
DISK_GIB = 0.5
_IMPORT_SECONDS = 300
# By what they are for: imported one after the other in a process of their own, for one that was
# built for another machine takes the process with it.
_IMPORTS = {
    "TensorFlow": "tensorflow, keras, keras_rs",
    "TFX": "tfx_bsl, tensorflow_transform, tensorflow_data_validation, tensorflow_model_analysis, "
    "ml_metadata, tfx",
    "TF Serving's protocol": "grpc, tensorflow_serving.apis.predict_pb2",
}
OK, WARNING, FAILED = "ok", "warning", "failed"
_COLOURS = {OK: "green", WARNING: "yellow", FAILED: "red"}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: `OK`, `WARNING` or `FAILED`.
        subject: what was looked at.
        found: in one line.
        remedy: what to do about it; empty where nothing is to be done.
    """

    state: str
    subject: str
    found: str
    remedy: str = ""


@click.command(
    "doctor",
    epilog="""\b
Examples:
  easq doctor
  easq doctor --workdir /data/easq_run""",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("easq_run"),
    show_default=True,
    help="Where runs are to leave their files: its disk is looked at.",
)
def command(workdir: Path) -> None:
    """Check this installation and this machine, and say what to fix.

    Takes up to a minute, most of it to load TensorFlow and TFX. Exit code 1 when something has to
    be fixed.
    """
    failed = 0
    for finding in findings(workdir):
        state = click.style(f"{finding.state:8}", fg=_COLOURS[finding.state])
        click.echo(f"{state} {finding.subject}: {finding.found}")
        if finding.remedy:
            click.echo(f"         → {finding.remedy}")
        failed += finding.state == FAILED
    if failed:
        click.echo(f"{failed} to fix.")
        raise click.exceptions.Exit(1)


def findings(workdir: Path) -> Iterator[Finding]:
    """Makes every check, the quick ones first."""
    yield machine(sys.version_info[:2], platform.system(), platform.machine())
    yield from packages()
    yield memory(Path("/proc/meminfo").read_text(encoding="ascii"))
    yield disk(workdir)
    yield loopback()
    for subject, modules in _IMPORTS.items():
        yield loads(subject, modules)


def machine(python: tuple[int, ...], system: str, processor: str) -> Finding:
    """Python, operating system and processor: TFX is published for one combination."""
    found = f"Python {python[0]}.{python[1]} on {system} {processor}"
    if python == (3, 11) and (system, processor) == ("Linux", "x86_64"):
        return Finding(OK, "machine", found)
    remedy = "TFX 1.21 needs Python 3.11 on Linux x86_64: use such a machine, or the container"
    return Finding(FAILED, "machine", found, remedy)


def packages(
    requires: Callable[[str], list[str] | None] = importlib.metadata.requires,
    version: Callable[[str], str] = importlib.metadata.version,
) -> Iterator[Finding]:
    """The packages of each extra, against the versions that were declared.

    An extra of which nothing is installed was not asked for and is no fault.
    """
    from packaging.requirements import Requirement

    declared = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    extras: dict[str, list[Requirement]] = {"": []}
    for requirement in declared:
        marker = str(requirement.marker or "")
        _, _, extra = marker.partition("extra == ")
        extras.setdefault(extra.strip("\"' "), []).append(requirement)
    for extra, of in extras.items():
        subject = f"packages of the extra {extra!r}" if extra else "packages of the library"
        wrong = []
        absent = 0
        for requirement in of:
            try:
                installed = version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                wrong.append(f"{requirement.name} is not there")
                absent += 1
                continue
            if not requirement.specifier.contains(installed, prereleases=True):
                wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
        if not wrong:
            yield Finding(OK, subject, f"{len(of)} as declared")
        elif extra and absent == len(of):
            yield Finding(OK, subject, "not installed")
        else:
            name = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
            remedy = f"in a checkout: make setup; elsewhere: pip install '{name}'"
            yield Finding(FAILED, subject, "; ".join(wrong), remedy)


def memory(meminfo: str) -> Finding:
    """Memory that is free now, from the text of `/proc/meminfo`."""
    (line,) = (line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    free = int(line.split()[1]) / 2**20
    if free >= MEMORY_GIB:
        return Finding(OK, "memory", f"{free:.1f} GiB free")
    remedy = f"a run on its default needs {MEMORY_GIB:g} GiB: close something, or add some"
    return Finding(WARNING, "memory", f"{free:.1f} GiB free", remedy)


def disk(workdir: Path) -> Finding:
    """Whether runs can write where they are to, and how much."""
    place = workdir.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = "choose another folder: --workdir, or change its permissions"
        return Finding(FAILED, "disk", f"cannot write in {place}: {error.strerror}", remedy)
    free = shutil.disk_usage(place).free / 2**30
    found = f"{free:.1f} GiB free in {place}"
    if free >= DISK_GIB:
        return Finding(OK, "disk", found)
    remedy = f"a run on its default needs {DISK_GIB:g} GiB: choose another folder: --workdir"
    return Finding(WARNING, "disk", found, remedy)


def loopback() -> Finding:
    """Whether a server may listen on this machine for this machine."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Finding(OK, "loopback", "a server can listen on 127.0.0.1")
    except OSError as error:
        remedy = "allow it: easq serve, easq online and the pipeline's InfraCheck listen there"
        return Finding(FAILED, "loopback", f"cannot listen on 127.0.0.1: {error}", remedy)


def loads(subject: str, modules: str) -> Finding:
    """Whether modules can be loaded, in a process of their own."""
    arguments = [sys.executable, "-c", f"import {modules}"]
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        remedy = "see whether the machine is overloaded or its disk very slow, and try again"
        return Finding(FAILED, subject, f"not loaded after {_IMPORT_SECONDS} s", remedy)
    if done.returncode == 0:
        return Finding(OK, subject, "loads")
    if done.returncode == -signal.SIGILL:
        remedy = "TensorFlow's packages need a processor with AVX: use another machine"
        return Finding(FAILED, subject, "the processor lacks instructions it needs", remedy)
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    found = last[0].strip() if last else f"ended with exit code {done.returncode}"
    remedy = "in a checkout: make clean && make setup; elsewhere: install easq-keras anew"
    return Finding(FAILED, subject, found, remedy)
