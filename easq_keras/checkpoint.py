"""Training state on disk: weights, both optimizers and what the model tracks between steps.

A `.keras` file holds a model; a checkpoint holds the state of one that the program builds itself,
so that the next window of a log is trained where the last one stopped. Two files in a folder: HDF5
for the numbers and JSON for what they belong to. Neither can carry code.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from easq_keras.models.emer import EMER

# Named by what is in it, so that a description never stands beside the weights of another.
WEIGHTS_FILE = "state-{digest}.weights.h5"
DESCRIPTION_FILE = "checkpoint.json"
FORMAT = 1
OPTIMIZERS = ("optimizer", "satisfaction_optimizer")


def save_checkpoint(model: EMER, directory: str | os.PathLike[str]) -> None:
    """Writes the training state of a compiled model.

    Args:
        model: An `EMER` or `EASQ` on which `compile` was called.
        directory: Folder for the two files; made if absent. A checkpoint that is there already is
            replaced.

    Raises:
        ValueError: The model is not compiled.
        OSError: The folder cannot be written.

    Examples:
        >>> import tempfile
        >>> from easq_keras.layers import FeatureSpec
        >>> model = EMER([FeatureSpec("item", "categorical", num_buckets=9)])
        >>> model.compile()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_checkpoint(model, folder)
        ...     load_checkpoint(model, folder)
    """
    _require_compiled(model)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed, the description last: a program that is stopped at any point
    # leaves the old checkpoint or the new one.
    written = folder / "new.weights.h5"
    model.save_weights(written)
    digest = _sha256(written)
    weights = folder / WEIGHTS_FILE.format(digest=digest[:16])
    os.replace(written, weights)
    description = {
        "format": FORMAT,
        "weights": weights.name,
        "sha256": digest,
        **_description(model),
        "settings": model.settings.to_dict(),
        "keras": keras.__version__,
    }
    written_description = folder / f"new-{DESCRIPTION_FILE}"
    written_description.write_text(json.dumps(description, indent=1), encoding="utf-8")
    os.replace(written_description, folder / DESCRIPTION_FILE)
    for old in folder.glob(WEIGHTS_FILE.format(digest="*")):
        if old != weights:
            old.unlink()


def load_checkpoint(model: EMER, directory: str | os.PathLike[str]) -> None:
    """Restores what `save_checkpoint` wrote into a model of the same features and shape.

    Settings that create no variables (weights of losses, learning rates, …) may differ: those of
    `model` hold. All or nothing: a checkpoint that does not fit leaves the model as it is.

    Args:
        model: An `EMER` or `EASQ` on which `compile` was called.
        directory: Folder of the checkpoint.

    Raises:
        FileNotFoundError: There is no checkpoint in the folder.
        ValueError: The model is not compiled, the checkpoint belongs to a model of other features,
            variables or optimizers (the message names the first that differs), or it is damaged.
    """
    _require_compiled(model)
    folder = Path(directory)
    if not (folder / DESCRIPTION_FILE).is_file():
        raise FileNotFoundError(f"No checkpoint in {folder}: {DESCRIPTION_FILE} is absent.")
    try:
        found = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / DESCRIPTION_FILE} is no JSON: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{folder / DESCRIPTION_FILE} is not of format {FORMAT}.")
    for part, expected in _description(model).items():
        _compare(part, found.get(part), expected)
    weights = folder / Path(str(found.get("weights"))).name
    if not weights.is_file() or _sha256(weights) != found.get("sha256"):
        raise ValueError(
            f"{weights} is absent or not the file that {DESCRIPTION_FILE} describes. Use an older "
            "checkpoint."
        )
    optimizers = [getattr(model, name) for name in OPTIMIZERS if hasattr(model, name)]
    rates = [_constant_rate(optimizer) for optimizer in optimizers]
    trade_off = model.trade_off
    kept = None if trade_off is None else _number(trade_off)
    model.load_weights(weights)
    if trade_off is not None:
        trade_off.assign(kept)
    for optimizer, rate in zip(optimizers, rates, strict=True):
        if rate is not None:
            optimizer.learning_rate = rate


def _description(model: EMER) -> dict[str, Any]:
    """What a checkpoint and the model that loads it must have in common."""
    return {
        "model": type(model).__name__,
        "features": [spec.get_config() for spec in model.embedding.features],
        "variables": [
            [_unnumbered(variable.path), list(variable.shape), str(variable.dtype)]
            for variable in model.weights
        ],
        "optimizers": [
            [name, type(getattr(model, name)).__name__, len(getattr(model, name).variables)]
            for name in OPTIMIZERS
            if hasattr(model, name)
        ],
    }


def _unnumbered(path: str) -> str:
    """Returns a path without the model's name and the numbers that Keras gives out by itself.

    They count what the program made before: a model that is made twice has others.
    """
    return re.sub(r"_\d+(?=/|$)", "", path.partition("/")[2])


def _compare(part: str, found: Any, expected: Any) -> None:
    if found == expected:
        return
    if isinstance(found, list) and isinstance(expected, list):
        for index in range(max(len(found), len(expected))):
            pair = [side[index] if index < len(side) else "absent" for side in (found, expected)]
            if pair[0] != pair[1]:
                found, expected, part = *pair, f"{part}[{index}]"
                break
    raise ValueError(
        "The checkpoint does not fit the model. "
        f"{part}: the checkpoint has {found!r}, the model {expected!r}."
    )


def _require_compiled(model: EMER) -> None:
    if not isinstance(model, EMER) or not model.compiled:
        raise ValueError(
            "Checkpoints are of EMER and EASQ models on which `compile` was called. "
            f"Received: {model!r}."
        )


def _constant_rate(optimizer: Any) -> float | None:
    """Returns the learning rate, or None where a schedule sets it."""
    rate = optimizer.learning_rate
    return _number(rate) if isinstance(rate, keras.Variable) else None


def _number(variable: keras.Variable) -> float:
    # By way of an array: the copies of a variable on several workers are no number to `float`.
    return float(np.asarray(variable.value))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
