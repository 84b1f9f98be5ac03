"""`easq users`: the people in the logs, their ids and their right to be forgotten."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import JobError

if TYPE_CHECKING:
    from pipeline.forget.users import Forgotten
    from pipeline.logs.dataset_config import DatasetConfig

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group("users", epilog="Example: easq users forget --help")
def command() -> None:
    """Hash user ids as the logs' are, or forget users."""


@command.command("hash", epilog="Example: easq users hash --key-file user_id.key 1017 1018")
@click.argument("user_ids", metavar="USER…", nargs=-1, required=True)
@click.option(
    "--key-file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with the secret key: privacy.user_id_key_file of the dataset config.",
)
def hash_ids(user_ids: tuple[str, ...], key_file: Path) -> None:
    """Print what stands for each USER where ids are hashed, one a line.

    A client sends this as user_id: HMAC-SHA256 of the id, the first 32 hexadecimal digits.
    """
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.user_ids import UserIdKey

    try:
        key = UserIdKey.read(key_file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    for user_id in user_ids:
        click.echo(key.hash(user_id))


@command.command(
    "forget",
    epilog="""\b
Examples:
  easq users forget 1017 --logs logs --workdir easq_run
  easq users forget 1017 --logs logs --dataset my_logs.yaml --answers-only""",
)
@click.argument("user_ids", metavar="USER…", nargs=-1, required=True)
@click.option(
    "--logs",
    type=_FOLDER,
    multiple=True,
    help="Folder of logs or of spans to rewrite; may be given more than once.",
)
@click.option(
    "--workdir",
    type=_FOLDER,
    help="Work folder of easq run and easq online: examples, dead letters, the impression store, "
    "remembered answers, warm-up requests.",
)
@click.option(
    "--dataset",
    help="What the logs mean: a built-in dataset or a dataset config.  [default: that of the run "
    "in --workdir]",
)
@click.option("--answers-only", is_flag=True, help="Keep what they were shown and did.")
def forget(
    user_ids: tuple[str, ...],
    logs: tuple[Path, ...],
    workdir: Path | None,
    dataset: str | None,
    answers_only: bool,
) -> None:
    """Delete all rows of each USER, and say which pushed models had learnt from them.

    USER is the id as the logs have it, also where ids are hashed later. Files are rewritten in
    place, each in one step; there is no way back. Killed half-way, it is run again. Stop easq
    online before. Weights keep what they learnt: a new full run on the logs that are left is what
    forgets it.
    """
    from pipeline.logs.checked import ConfigError
    from pipeline.logs.errors import LogError
    from pipeline.online.spans import SpanError

    if not logs and workdir is None:
        raise click.UsageError("--logs or --workdir is needed: where to look")
    # TensorFlow tells of its devices as soon as it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        config = _dataset(dataset, workdir)
        from pipeline.forget.users import forget_users
        from pipeline.local_runner import Workdir

        place = None if workdir is None else Workdir(workdir)
        found = forget_users(user_ids, config, logs, place, answers_only=answers_only)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except (LogError, SpanError, OSError, RuntimeError) as error:
        raise JobError.of(error) from error
    _tell(found)


def _dataset(name: str | None, workdir: Path | None) -> DatasetConfig:
    from pipeline.local_runner import Workdir
    from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config

    if name is not None:
        return load_dataset_config(name)
    report = None if workdir is None else Workdir(workdir).report_json
    if report is None or not report.exists():
        raise click.UsageError("--dataset is needed: what the logs mean")
    run = json.loads(report.read_text(encoding="utf-8"))["run"]
    return DatasetConfig.from_dict(run["dataset_config"])


def _tell(found: Forgotten) -> None:
    for kind, number in found.removed.items():
        if number:
            click.echo(f"{number:>9,}  {kind}")
    if not any(found.removed.values()):
        click.echo("Nothing of them was found.")
    for version in found.versions:
        gone = "" if version.there else " (no longer served)"
        click.echo(f"version {version.number}{gone} learnt from them: {_few(version.learnt)}")
    if any(version.there for version in found.versions):
        click.echo("These models still know what they learnt. Make one without it: easq run")
    for path in found.left:
        click.echo(f"The id still stands in {path}; look at it, and delete it if it is theirs")


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, … {names[-1]} ({len(names)})"
