"""`easq completion`: the script is one the shell understands, and it completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main

EASQ = Path(sys.executable).with_name("easq")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_easq_itself(shell, capsys):
    assert main(["completion", shell]) == 0
    assert f"_EASQ_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_another_shell_is_wrong_usage_and_gets_the_list(capsys):
    assert main(["completion", "csh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


def test_bash_reads_the_script_and_completes_a_command():
    script = (
        f'eval "$({EASQ} completion bash)"; '
        "COMP_WORDS=(easq expe); COMP_CWORD=1; _easq_completion easq; echo ${COMPREPLY[*]}"
    )
    path = f"{EASQ.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.stdout.strip() == "experiment", done.stderr
