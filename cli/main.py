"""Entry point of the `easq` command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

# Command name → (module, one line for the list of commands, so that listing imports nothing).
_COMMANDS = {
    "simulate": ("cli.simulate", "Write the logs of a simulated short-video service."),
    "run": ("cli.run", "Run the pipeline once: logs in, pushed model and report out."),
    "report": ("cli.report", "Show a finished run again, or compare two of them."),
    "online": ("cli.online", "Learn spans of logs as they land; push what passes the gate."),
    "spans": ("cli.spans", "Cut a log into span folders for easq online."),
    "ab": ("cli.ab", "Let two models serve one simulated world and compare what people do."),
    "kubeflow": ("cli.kubeflow", "Compile the pipeline for Kubeflow Pipelines or Vertex AI."),
    "serve": ("cli.serve", "Serve pushed models over TF Serving's protocol."),
    "predict": ("cli.predict", "Rank one slate with a running model server."),
    "experiment": ("cli.experiment", "Reproduce the tables and figures; compare the methods."),
    "doctor": ("cli.doctor", "Check this installation and say what to fix."),
    "completion": ("cli.completion", "Print the script that completes easq in your shell."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        return importlib.import_module(module).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="easq-keras")
def easq() -> None:
    """Rank short videos by what people are truly satisfied with.

    Exit codes: 0 done (also when a model was not blessed: the report says so), 1 the job failed,
    2 wrong usage.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        result = easq.main(args=arguments, prog_name="easq", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 1
    # In this mode click returns the code of ctx.exit() and otherwise the command's own result.
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
