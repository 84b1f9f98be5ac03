"""`easq completion`: the script that lets a shell complete commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog="""\b
Examples:
  echo 'eval "$(easq completion bash)"' >> ~/.bashrc
  echo 'eval "$(easq completion zsh)"' >> ~/.zshrc
  easq completion fish > ~/.config/fish/completions/easq.fish""",
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes easq's commands and options in SHELL."""
    completion = get_completion_class(shell)
    root = click.get_current_context().find_root()
    assert completion is not None, "click knows every one of SHELLS"
    click.echo(completion(root.command, {}, "easq", "_EASQ_COMPLETE").source())
