"""Everything that writes what must outlast a fault, small; each run in a process of its own.

The processes are forks of one that has imported this module, so that a fault costs no import.
"""

import errno
import os
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline.online.span_examples  # noqa: F401
from pipeline.configs import IN_PROCESS_BEAM
from pipeline.example_gen.generate import generate_examples
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.online import series
from pipeline.online.spans import Span
from pipeline.online.state import Commit, OnlineFolder, OnlineState, Version, write_state
from pipeline.report.model_card import write_card  # noqa: F401
from pipeline.version_folder import new_version
from simulator import SimulatorConfig, write_logs
from tests.pipeline.example_gen.small_logs import answer, config, impression
from tests.pipeline.online.span_folders import learn as learn_spans
from tests.pipeline.online.span_folders import write_span

ERRORS = {"no space left": errno.ENOSPC, "input/output error": errno.EIO, "read-only": errno.EROFS}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
SLOW, SMALL = "slow disk", "file size limit"
# What Python asks of the file system; of what libraries ask themselves, `SMALL` makes writes fail.
_CALLS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.scandir")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SECONDS_A_CALL = 0.02


def _logs(folder: Path) -> None:
    write_logs(SimulatorConfig(requests=60), folder)


def _examples(folder: Path) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions(list(IN_PROCESS_BEAM))
    generate_examples(
        load_dataset_config("simulated"),
        str(folder / "logs"),
        str(folder / "examples"),
        lambda: beam.Pipeline(options=options),
    )


def _version(folder: Path) -> None:
    number = 1 + max((int(path.name) for path in folder.glob("[0-9]*")), default=0)
    with new_version(str(folder), number) as place:
        (place / "variables").mkdir()
        for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data"):
            (place / name).write_bytes(name.encode() * 900)


def _first_state(folder: Path) -> None:
    version = Version(1000, 0, "", "/fit")
    commit = Commit(0, "", "/fit", None, None, None, 1000)
    place = OnlineFolder(Workdir(folder))
    write_state(
        place.state_file, OnlineState("/fit", "/graph", (commit,), (version,), 1000, version, 1000)
    )
    series.append(place.series_file, {"sequence": 0, "span": ""})


def _next_state(folder: Path) -> None:
    version = Version(1001, 1, "span=1", "/one")
    commit = Commit(1, "span=1", "/one", "/store", "/examples", "/tests", 1001)
    place = OnlineFolder(Workdir(folder))
    series.keep_until(place.series_file, 0)
    series.append(place.series_file, {"sequence": 1, "span": "span=1", "figures": [0.5] * 200})
    state = OnlineState("/fit", "/graph", (commit,), (version,), 1001, version, 1001)
    write_state(place.state_file, state)


def two_spans(folder: Path) -> list[Span]:
    spans = []
    for number in (1, 2):
        hour, shown, answers = 2 * number, [], []
        for place in range(12):
            request = f"s{number}r{place}"
            shown += [impression(request, f"u{place % 4}", item, hour) for item in "abc"]
            answers.append(answer(request, f"u{place % 4}", "a", hour + 0.1, place % 3))
        spans.append(write_span(folder, f"span={number}", shown, answers))
    return spans


def _learnt_spans(folder: Path) -> None:
    spans = [Span.at(folder / "spans" / f"span={number}") for number in (1, 2)]
    learn_spans(folder, spans, config())


def _metadata(folder: Path) -> None:
    place = Workdir(folder)
    with place.locked(), sqlite3.connect(place.metadata) as database:
        database.execute("CREATE TABLE IF NOT EXISTS Artifact (uri TEXT UNIQUE)")
        database.execute("INSERT OR IGNORE INTO Artifact VALUES ('/model')")


@dataclass(frozen=True)
class Writer:
    """What is done, and what was there before it."""

    before: Callable[[Path], Any]
    act: Callable[[Path], Any]


def _nothing(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def _logs_to_read(folder: Path) -> None:
    write_logs(SimulatorConfig(requests=60), folder / "logs")


WRITERS = {
    "simulated logs": Writer(_nothing, _logs),
    "ExampleGen": Writer(_logs_to_read, _examples),
    "push of a version": Writer(_version, _version),
    "online state": Writer(_first_state, _next_state),
    "span examples and store": Writer(two_spans, _learnt_spans),
    "metadata database": Writer(_metadata, _metadata),
}


class _Fault:
    """An audit hook: something happens at a call to the file system about a folder."""

    def __init__(self, root: Path, kind: str, at: int) -> None:
        self._root, self._kind, self._at, self.calls = f"{root}/", kind, at, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CALLS:
            return
        paths = [os.fsdecode(one) for one in arguments[:2] if isinstance(one, str | os.PathLike)]
        if not any(path.startswith(self._root) for path in paths):
            return
        self.calls += 1
        if self._kind == SLOW:
            time.sleep(SECONDS_A_CALL)
        elif self._kind in SIGNALS and self.calls == self._at:
            os.kill(os.getpid(), SIGNALS[self._kind])
        elif self._kind in ERRORS and self.calls >= self._at:
            reads = event == "os.scandir" or (event == "open" and not arguments[2] & _WRITING)
            if self._kind == "input/output error" or not reads:
                code = ERRORS[self._kind]
                raise OSError(code, os.strerror(code), paths[0])


def run(name: str, folder: Path, kind: str, at: int) -> None:
    """One writer with one fault at the call `at`, or from so many bytes on; "" : no fault.

    Leaves, beside the folder, what it said, or the number of calls where nothing went wrong.
    """
    outcome = folder.with_name(f"{folder.name}.said")
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    fault = _Fault(folder, kind, at)
    sys.addaudithook(fault)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if kind == SMALL:
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, limits[1]))
    try:
        WRITERS[name].act(folder)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    else:
        said = str(fault.calls)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    outcome.write_text(said, encoding="utf-8")
    os._exit(0)
