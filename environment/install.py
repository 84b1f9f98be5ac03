"""Sets up `.venv` in the checkout from the lock; does nothing where that is done.

`make` calls this before everything else, as `python -m environment.install`. It uses the pip that
comes with Python, so an index, proxy or folder of wheels set in pip's configuration is honoured,
and installs exactly the files whose hashes `requirements.txt` lists.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

from environment import relink
from environment.elf import ElfError

ROOT = Path(__file__).resolve().parent.parent
# pip itself, and what builds the few packages that are published as source only.
BUILD_TOOLS = ("pip", "setuptools")


class SetupError(RuntimeError):
    """The environment cannot be set up; the message says why and what to do."""


class Environment:
    """The virtual environment of one checkout, and the record of how far its set-up came.

    The record, `.venv/setup.json`, is written before the first change and after the last one. An
    environment whose record says `unfinished` is made anew; one that is finished but for an
    earlier lock is brought up to date in place.

    Args:
        root: the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self._record = self.folder / "setup.json"
        self._discarded = root / ".venv.discarded"
        self._key = self._current_key()

    def _current_key(self) -> dict[str, str]:
        """What the environment depends on: where and for which glibc it was made (`base`), and
        what was installed (`lock`). Any Python 3.11 may ask: the one it was made with stays."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text())
        lock = hashlib.sha256((self.root / "requirements.txt").read_bytes())
        for table in (project["build-system"], project["project"], project["tool"]["hatch"]):
            lock.update(json.dumps(table, sort_keys=True).encode())
        for source in sorted((self.root / "environment").glob("*.py")):
            lock.update(source.read_bytes())
        base = " ".join([str(self.folder), *platform.libc_ver()])
        return {"base": base, "lock": lock.hexdigest()}

    def finished(self) -> dict[str, str] | None:
        """The key of the finished set-up, or None where there is none, or its Python is gone."""
        if not self.python.exists():
            return None
        try:
            record = json.loads(self._record.read_text())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        return record["key"] if record["finished"] else None

    def ready(self) -> bool:
        """Whether the environment is what the checkout asks for."""
        return self.finished() == self._key

    def start(self) -> None:
        """Notes that a change begins; makes the folder anew unless it can be built upon.

        Raises:
            SetupError: there is a `.venv` that this module did not make.
        """
        shutil.rmtree(self._discarded, ignore_errors=True)
        before = self.finished()
        if before is None or before["base"] != self._key["base"]:
            self._discard()
            self.folder.mkdir(exist_ok=True)
        self._write(finished=False)

    def _discard(self) -> None:
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return
        if not self._record.exists():
            raise SetupError(
                f"{self.folder} exists and was not made by this set-up:"
                " move it away, or delete it, and call again"
            )
        # Out of the way in one step, so that being stopped here leaves no half-deleted `.venv`.
        self.folder.rename(self._discarded)
        shutil.rmtree(self._discarded)

    def finish(self) -> None:
        """Notes that the environment is complete."""
        self._write(finished=True)

    def _write(self, *, finished: bool) -> None:
        unfinished = self._record.with_suffix(".part")
        unfinished.write_text(json.dumps({"finished": finished, "key": self._key}) + "\n")
        os.replace(unfinished, self._record)


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Keeps two set-ups of one checkout from running at the same time: the second one waits."""
    with (root / ".venv.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        # A pip that outlives this process still holds the lock.
        os.set_inheritable(file.fileno(), True)
        yield


def locked_requirements(lock: str) -> dict[str, str]:
    """The requirements of a lock file by project name, each with its hashes, as pip reads them."""
    blocks = re.findall(r"^[A-Za-z0-9].*?(?=^\S|\Z)", lock, flags=re.MULTILINE | re.DOTALL)
    return {re.split(r"[=\[ ;]", block, maxsplit=1)[0]: block for block in blocks}


def say(line: str) -> None:
    """Tells the person at the terminal what is going on."""
    print(f"set-up: {line}", file=sys.stderr, flush=True)


def check_machine() -> None:
    """Refuses machines that the lock is not for (the Makefile looks for Python 3.11).

    Raises:
        SetupError: not Linux on x86-64.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(
            f"the lock is for Linux on x86_64, this is {sys.platform} on {platform.machine()}"
        )


def pip(environment: Environment, *arguments: str | Path) -> None:
    """Runs the environment's pip, in the user's configuration.

    Raises:
        SetupError: pip failed; its own message is on the terminal.
    """
    command = [environment.python, "-I", "-m", "pip", "--disable-pip-version-check", *arguments]
    # A user-wide switch to install outside virtual environments has no place here.
    environ = {**os.environ, "PIP_USER": "0"}
    if subprocess.run(command, env=environ, close_fds=False).returncode:
        raise SetupError(
            f"`pip {arguments[0]}` failed, see above; once that is mended, call make again"
        )


def add_relinked_wheels(environment: Environment, folder: Path) -> None:
    """Downloads the wheels that this machine's glibc is too old for, and relinks them."""
    with tempfile.TemporaryDirectory() as downloads:
        wanted = Path(downloads, "requirements.txt")
        wanted.write_text("".join(f"{wheel.requirement}\n" for wheel in relink.WHEELS))
        pip(
            environment,
            *("download", "-qq", "--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("--platform", relink.OFFICIAL_TAG, "--dest", downloads, "--requirement", wanted),
        )
        for wheel in relink.WHEELS:
            relink.relink(Path(downloads, wheel.file_name(relink.OFFICIAL_TAG)), folder)


def remove_unlisted(environment: Environment, listed: set[str]) -> None:
    """Uninstalls what an earlier lock asked for and this one does not."""
    site_packages = next(environment.folder.glob("lib/python*/site-packages"))
    installed = {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        for distribution in importlib.metadata.distributions(path=[str(site_packages)])
    }
    unlisted = sorted(installed - listed - {"easq-keras"})
    if unlisted:
        pip(environment, "uninstall", "-qq", "--yes", *unlisted)


def install(environment: Environment) -> None:
    """Brings the environment from any state to the one the lock describes."""
    started = time.monotonic()
    requirements = environment.root / "requirements.txt"
    locked = locked_requirements(requirements.read_text())
    environment.start()
    if environment.python.exists():
        say(f"bringing {environment.folder} up to date")
    else:
        say(f"{len(locked)} packages (3.9 GB) into {environment.folder}, some minutes, once")
        venv.create(environment.folder, with_pip=True, symlinks=True)
    exactly = ["install", "-qq", "--no-deps", "--require-hashes"]
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder, "requirements.txt")
        tools.write_text("".join(locked[name] for name in BUILD_TOOLS))
        pip(environment, *exactly, "--requirement", tools)
    relinked = environment.folder / "relinked"
    if relink.needed():
        add_relinked_wheels(environment, relinked)
        exactly += ["--find-links", str(relinked)]
    # Source packages are built with the locked setuptools instead of whatever the index has today.
    exactly += ["--no-build-isolation", "--no-compile"]
    pip(environment, *exactly, "--requirement", requirements)
    remove_unlisted(environment, set(locked))
    pip(
        environment,
        *("install", "-qq", "--no-deps", "--no-index", "--no-build-isolation"),
        *("--editable", environment.root),
    )
    # On all cores, where pip would use one. Packages ship files that are not valid Python 3.11.
    compile_all = ("-I", "-m", "compileall", "-qq", "-j", "0", environment.folder / "lib")
    subprocess.run([environment.python, *compile_all])
    environment.finish()
    say(f"done in {time.monotonic() - started:.0f} s")


def main() -> int:
    """Sets up the checkout this file is in; the exit code is 1 where that fails."""
    try:
        check_machine()
        environment = Environment(ROOT)
        if environment.ready():
            return 0
        with only_one(ROOT):
            if not environment.ready():
                install(environment)
    except (SetupError, relink.RelinkError, ElfError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("stopped; the next call begins anew")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
