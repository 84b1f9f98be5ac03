"""Processes that are killed: forks of one that has imported TFX, TensorFlow and the server."""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import serving.server  # noqa: F401
from pipeline import pipeline, trainer  # noqa: F401


def _to_file(log: Path) -> None:
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(opened, stream)


def easq(log: Path, *arguments: str) -> None:
    """The command, its output in a file."""
    from cli.main import main

    _to_file(log)
    sys.argv = ["easq", *arguments]
    sys.exit(main())


def serve(log: Path, *flags: str) -> None:
    """The server, its output in a file."""
    from serving.main import main

    _to_file(log)
    sys.exit(main(flags))


def easq_on_a_small_disk(
    log: Path, disk: Path, sizes: Sequence[int], out: Path, *arguments: str
) -> None:
    """The command on a small disk, again on a larger one until there is room.

    The disk is one of this process alone, in memory. What each try left is told in a line of JSON
    beside the log; at the end the disk is copied.

    Args:
        log: Gets what is printed.
        disk: An empty folder, where the disk is.
        sizes: Its sizes in bytes, one a try.
        out: Where it is copied to.
        arguments: Of the command.
    """
    from cli.main import main

    _to_file(log)
    _unshare()
    sys.argv = ["easq", *arguments]
    for number, size in enumerate(sizes):
        _mount(disk, size, _MS_REMOUNT if number else 0)
        begun = log.stat().st_size
        code = main()
        sys.stderr.flush()
        said = log.read_bytes()[begun:].decode(errors="replace")
        served = sorted(str(path.relative_to(disk)) for path in disk.glob("**/easq/[0-9]*/*"))
        with log.with_suffix(".jsonl").open("a") as tries:
            tries.write(json.dumps({"size": size, "code": code, "said": said, "served": served}))
            tries.write("\n")
        if code == 0:
            break
    shutil.copytree(disk, out)


_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 32, 16384, 1 << 18


def _unshare() -> None:
    user, group = os.getuid(), os.getgid()
    _call("unshare", _CLONE_NEWNS | (0 if user == 0 else _CLONE_NEWUSER))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)


def _mount(disk: Path, size: int, flags: int) -> None:
    _call("mount", b"tmpfs", os.fsencode(disk), b"tmpfs", flags, f"size={size}".encode())


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


def examples_in_two_processes(logs: Path, out: Path, said: Path) -> None:
    """ExampleGen with two worker processes; leaves what it said, "" where nothing went wrong."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.example_gen.generate import generate_examples
    from pipeline.logs.dataset_config import load_dataset_config

    _to_file(said.with_suffix(".log"))
    options = PipelineOptions(
        [
            "--runner=FnApiRunner",
            "--direct_running_mode=multi_processing",
            "--direct_num_workers=2",
        ]
    )
    try:
        dataset = load_dataset_config("simulated")
        generate_examples(dataset, str(logs), str(out), lambda: beam.Pipeline(options=options))
    except Exception as error:
        said.write_text(f"{type(error).__name__}: {error}")
        os._exit(1)
    said.write_text("")
    os._exit(0)
