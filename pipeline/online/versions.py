"""Versions in the serving folder, and the labels that servers follow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.configs import MODEL_NAME
from pipeline.online.state import OnlineFolder, OnlineState
from pipeline.version_folder import new_version
from pipeline.whole_files import sync_folder, write_in_one_step

ORIGIN = "origin.json"


def push_version(
    source: Path, serving_dir: Path, number: int, origin: Mapping[str, object]
) -> Path:
    """Copies a SavedModel to `<serving_dir>/<number>`; servers see all of it or nothing.

    A folder of that number which an interrupted run left behind is kept where it has the same
    origin, as it then is the same model, and replaced otherwise.

    Args:
        source: The SavedModel.
        serving_dir: The model's base path.
        number: The version.
        origin: What it was made of; written to `assets.extra/origin.json`.
    """
    target = serving_dir / str(number)
    if target.exists():
        if read_origin(target) == dict(origin):
            return target
        withdraw_version(target, serving_dir)
    with new_version(str(serving_dir), number) as incoming:
        shutil.copytree(source, incoming, dirs_exist_ok=True)
        extra = incoming / "assets.extra"
        extra.mkdir(exist_ok=True)
        (extra / ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
    return target


def read_origin(version_folder: Path) -> dict[str, object] | None:
    """What a version was made of; `None` for one that online learning did not push."""
    try:
        return json.loads((version_folder / "assets.extra" / ORIGIN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def withdraw_version(version_folder: Path, trash: Path) -> None:
    """Takes a version away in one step: servers fall back to the newest one left."""
    trash.mkdir(parents=True, exist_ok=True)
    gone = trash / f".withdrawn-{version_folder.name}"
    if gone.exists():
        shutil.rmtree(gone)
    if version_folder.exists():
        os.rename(version_folder, gone)
        sync_folder(version_folder.parent)
        shutil.rmtree(gone)


def follow_state(folder: OnlineFolder, state: OnlineState) -> None:
    """Makes the serving folder and the labels agree with the state; does nothing twice.

    First the labels leave a version, then its folder goes: a server refuses labels of versions that
    it does not have.
    """
    text = models_config(folder.serving_dir, state)
    config = folder.models_config
    if not config.exists() or config.read_text(encoding="utf-8") != text:
        write_in_one_step(config, text)
    served = {version.number for version in state.versions}
    if not folder.serving_dir.exists():
        return
    for entry in folder.serving_dir.iterdir():
        stray = entry.name.startswith(".")
        if stray or (entry.name.isdecimal() and int(entry.name) not in served):
            withdraw_version(entry, folder.serving_dir) if not stray else shutil.rmtree(entry)


def models_config(serving_dir: Path, state: OnlineState) -> str:
    """The text of a `--model_config_file`: all versions of the folder, labels on two of them."""
    labels = "".join(
        f'    version_labels {{ key: "{label}" value: {number} }}\n'
        for label, number in state.labels.items()
    )
    base_path = json.dumps(str(serving_dir))
    return (
        "model_config_list {\n"
        "  config {\n"
        f'    name: "{MODEL_NAME}"\n'
        f"    base_path: {base_path}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy { latest { num_versions: 2 } }\n"
        f"{labels}"
        "  }\n"
        "}\n"
    )
