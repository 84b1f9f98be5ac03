"""`easq serve`: the embedded model server, with TF Serving's flags."""

from __future__ import annotations

import click


@click.command(
    "serve",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def command(flags: tuple[str, ...]) -> int:
    """Serve pushed models; the flags are those of tensorflow_model_server."""
    from serving.main import main

    return main(list(flags), program="easq serve")
