"""`easq serve`: the embedded model server, with TF Serving's flags."""

from __future__ import annotations

import click


@click.command(
    "serve",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
    epilog="Example: easq serve --port=8500 --model_base_path=$PWD/easq_run/serving_model/easq",
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def command(flags: tuple[str, ...]) -> None:
    """Serve pushed models; the flags are those of tensorflow_model_server."""
    from serving.main import main

    raise SystemExit(main(list(flags)))
