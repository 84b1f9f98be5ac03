"""Entry point of the `easq` command."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

import click

# Section → command name → (module, one line for the list, so that listing imports nothing).
_SECTIONS = {
    "From logs to a model": {
        "run": ("cli.run", "Run the pipeline once: logs in, pushed model and report out."),
        "report": ("cli.report", "Show a finished run again, or compare two of them."),
        "online": ("cli.online", "Learn spans of logs as they land; push what passes the gate."),
        "spans": ("cli.spans", "Cut a log into span folders for easq online."),
        "users": ("cli.users", "Hash user ids as the logs' are, or forget users."),
        "kubeflow": ("cli.kubeflow", "Compile the pipeline for Kubeflow Pipelines or Vertex AI."),
    },
    "From a model to rankings": {
        "serve": ("cli.serve", "Serve pushed models over TF Serving's protocol."),
        "predict": ("cli.predict", "Rank one slate with a running model server."),
    },
    "Worlds and evidence": {
        "simulate": ("cli.simulate", "Write the logs of a simulated short-video service."),
        "ab": ("cli.ab", "Let two models serve simulated people, and compare."),
        "experiment": ("cli.experiment", "Reproduce the tables and figures; compare the methods."),
    },
    "This installation": {
        "doctor": ("cli.doctor", "Check it and say what to fix."),
        "completion": ("cli.completion", "Print the script that completes easq in your shell."),
    },
}
_COMMANDS = {name: entry for part in _SECTIONS.values() for name, entry in part.items()}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        return importlib.import_module(module).command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        close = difflib.get_close_matches(args[0], _COMMANDS, 1)
        if args[0] not in _COMMANDS and close:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{close[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in _SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Begin with:
  easq run                             simulated logs; a report in easq_run/
  easq serve --model_name=easq --model_base_path=$PWD/easq_run/serving_model/easq
  easq predict easq_run/slate.json     from another terminal

\b
Each command has examples: easq COMMAND --help.
Exit codes: 0 done (also where a model was not blessed: the report says why),
1 the job failed, 2 wrong usage. Errors go to standard error, in one line.""",
)
@click.version_option(package_name="easq-keras")
def easq() -> None:
    """Rank short videos by what people are truly satisfied with.

    Learns a ranking from logs of what people watched and from the few answers they gave when they
    were asked, and serves it.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        result = easq.main(args=arguments, prog_name="easq", standalone_mode=False)
    except click.UsageError as error:
        # What is wrong in a file is not told by the help.
        help_of = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        said = error.format_message()
        click.echo(f"Error: {said}{'' if error.__cause__ else help_of}", err=True)
        return error.exit_code
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
