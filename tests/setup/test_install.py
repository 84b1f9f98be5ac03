"""When the set-up has something to do, what it keeps, and how it recovers from being stopped."""

import json
import multiprocessing
import subprocess
import time

import pytest

from environment import install
from environment.install import ROOT, Environment, SetupError, locked_requirements, only_one

PROJECT = """
[build-system]
requires = ["hatchling"]
[project]
name = "x"
dependencies = ["numpy"]
[tool.hatch.build]
dev-mode-dirs = ["."]
[tool.ruff]
line-length = 100
"""
LOCK = "numpy==2.4.6 --hash=sha256:00\n"


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements.txt").write_text(LOCK)
    (tmp_path / "environment").mkdir()
    return tmp_path


def set_up(checkout) -> Environment:
    """Makes an environment with one installed file."""
    environment = Environment(checkout)
    environment.start()
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    (environment.folder / "installed").touch()
    environment.finish()
    return environment


def test_a_fresh_checkout_is_not_ready(checkout):
    assert not Environment(checkout).ready()


def test_once_finished_it_is_ready(checkout):
    set_up(checkout)

    assert Environment(checkout).ready()


def test_starting_a_change_makes_it_unready_until_the_change_is_finished(checkout):
    set_up(checkout)

    Environment(checkout).start()

    assert not Environment(checkout).ready()


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("requirements.txt", "2.4.6", "2.4.7"),
        ("pyproject.toml", '["numpy"]', '["numpy", "pandas"]'),
        ("pyproject.toml", '["hatchling"]', '["hatchling>2"]'),
        ("pyproject.toml", '["."]', '["src"]'),
    ],
)
def test_another_lock_or_project_is_brought_in_where_it_stands(checkout, file, before, after):
    set_up(checkout)
    path = checkout / file
    path.write_text(path.read_text().replace(before, after))

    later = Environment(checkout)
    assert not later.ready()
    later.start()

    assert (later.folder / "installed").exists()


def test_the_settings_of_the_linters_do_not_matter(checkout):
    set_up(checkout)
    path = checkout / "pyproject.toml"
    path.write_text(path.read_text().replace("line-length = 100", "line-length = 80"))

    assert Environment(checkout).ready()


def test_a_stopped_set_up_begins_anew(checkout):
    environment = set_up(checkout)
    environment.start()

    again = Environment(checkout)
    again.start()

    assert [path.name for path in again.folder.iterdir()] == ["setup.json"]


def test_so_does_one_stopped_while_it_wrote_its_record(checkout):
    set_up(checkout)
    (checkout / ".venv" / "setup.json").write_text('{"finished": tr')

    again = Environment(checkout)
    assert not again.ready()
    again.start()

    assert not (again.folder / "installed").exists()


def test_so_does_one_stopped_between_making_and_marking_the_folder(checkout):
    (checkout / ".venv").mkdir()

    Environment(checkout).start()

    assert json.loads((checkout / ".venv" / "setup.json").read_text())["finished"] is False


def test_what_a_stopped_clean_up_left_is_removed(checkout):
    (checkout / ".venv.discarded" / "lib").mkdir(parents=True)

    Environment(checkout).start()

    assert not (checkout / ".venv.discarded").exists()


def test_a_moved_checkout_begins_anew(checkout, tmp_path_factory):
    set_up(checkout)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "checkout"
    checkout.rename(elsewhere)

    moved = Environment(elsewhere)
    assert not moved.ready()
    moved.start()

    assert not (moved.folder / "installed").exists()


def test_an_environment_on_another_glibc_begins_anew(checkout, monkeypatch):
    set_up(checkout)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.99"))

    other = Environment(checkout)
    assert not other.ready()
    other.start()

    assert not (other.folder / "installed").exists()


def test_an_environment_whose_python_is_gone_is_not_ready(checkout):
    set_up(checkout).python.unlink()

    assert not Environment(checkout).ready()


def test_an_environment_made_by_hand_is_left_alone(checkout):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "pyvenv.cfg").touch()

    with pytest.raises(SetupError, match="was not made by this set-up"):
        Environment(checkout).start()
    assert (checkout / ".venv" / "pyvenv.cfg").exists()


def hold(checkout, held, release):
    with only_one(checkout):
        held.set()
        release.wait(30)


def test_a_second_set_up_waits_for_the_first(checkout, capsys):
    fork = multiprocessing.get_context("spawn")
    held, release = fork.Event(), fork.Event()
    first = fork.Process(target=hold, args=(checkout, held, release))
    first.start()
    assert held.wait(60)
    timer = fork.Process(target=release_soon, args=(release,))
    timer.start()

    with only_one(checkout):
        assert release.is_set()

    assert "waiting" in capsys.readouterr().err
    first.join()
    timer.join()


def test_a_pip_that_outlives_its_set_up_keeps_the_next_one_waiting(checkout, capsys):
    environment = set_up(checkout)
    environment.python.write_text("#!/bin/sh\nsleep 0.5 > /dev/null 2>&1 &\n")
    environment.python.chmod(0o755)
    with only_one(checkout):
        install.pip(environment, "install", "numpy")

    with only_one(checkout):
        pass

    assert "waiting" in capsys.readouterr().err


def release_soon(release):
    time.sleep(0.2)
    release.set()


def test_one_requirement_of_a_lock_is_taken_with_all_its_hashes():
    absl = "absl-py==1.4.0 \\\n    --hash=sha256:0d\n"
    pip = "pip==26 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"

    assert locked_requirements(f"# made\n{absl}{pip}") == {"absl-py": absl, "pip": pip}


def test_a_failing_pip_says_what_to_do(checkout):
    environment = set_up(checkout)
    environment.python.write_text("#!/bin/sh\nexit 3\n")
    environment.python.chmod(0o755)

    with pytest.raises(SetupError, match=r"`pip install` failed.*call make again"):
        install.pip(environment, "install", "numpy")


def test_other_machines_are_refused(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    with pytest.raises(SetupError, match="Linux on x86_64, this is linux on aarch64"):
        install.check_machine()


def test_this_checkout_is_set_up():
    """What `make test` runs in is what the lock says."""
    assert Environment(ROOT).finished() is not None


def test_make_says_how_to_name_a_python_when_it_finds_none():
    done = subprocess.run(
        ["make", "setup", "PYTHON=no-such-python false"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode != 0
    assert "no Python 3.11 with venv found as: no-such-python false" in done.stderr
    assert "make PYTHON=" in done.stderr
